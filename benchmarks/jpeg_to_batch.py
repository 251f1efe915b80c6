"""JPEG files to augmented 224-pixel batches: ours, and Pillow with a DataLoader.

    python -m benchmarks.jpeg_to_batch

Reads a folder of photographs, $DC_KERAS_PHOTOS or ../shared/data/photos, on two cores: two worker
processes there, tf.data's threads here. Files are in memory from the first, uncounted turn on.
Needs PyTorch: pip install -r requirements-torch.txt
"""

import os
import pathlib

import numpy as np

from benchmarks.interleaved import arguments, rates, report
from dc_keras.runtime import load_libraries_quietly

PHOTOS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "photos"
BATCH = 64


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__)
    load_libraries_quietly()
    from benchmarks.pillow_loader import loader, random_crop
    from dc_keras.data.balanced import training_batches
    from dc_keras.data.samplers import NaturalSampler
    from dc_keras.data.sources import open_source

    folder = os.environ.get("DC_KERAS_PHOTOS", str(PHOTOS))
    source = open_source(folder)
    passes = 1 if options.quick else 5
    indices = np.tile(np.arange(len(source)), passes)
    count = len(indices) // BATCH * BATCH
    sampler = NaturalSampler(len(source), count)
    sampler.set_labels(np.zeros(len(source), np.int32))
    sampler.begin_epoch(0, 0)
    batches = training_batches(
        source, sampler, num_batches=count // BATCH, batch_size=BATCH, image_size=224
    )

    def ours():
        return sum(len(images) for images, _ in batches)

    paths = [os.path.join(folder, source.names[i]) for i in indices[:count]]
    pillow = loader(paths, random_crop, BATCH)

    def theirs():
        return sum(len(images) for images in pillow)

    contenders = {"ours": ours, "Pillow and DataLoader": theirs}
    rates(contenders, 1)
    report(
        options,
        f"augmented 224-px batches, {len(source)} photographs",
        rates(contenders, options.turns),
        "images/s",
        goals={"Pillow and DataLoader": 3},
        packages=["tensorflow", "pillow", "torch"],
    )


if __name__ == "__main__":
    main()
