"""JPEG files to the centre crops that clustering sees: ours, and Pillow with a DataLoader.

    python -m benchmarks.center_crop

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
    from benchmarks.pillow_loader import central_crop, loader
    from dc_keras.data.ordered import ordered_batches
    from dc_keras.data.sources import open_source

    folder = os.environ.get("DC_KERAS_PHOTOS", str(PHOTOS))
    source = open_source(folder)
    passes = 1 if options.quick else 5
    indices = np.tile(np.arange(len(source)), passes)
    count = len(indices) // BATCH * BATCH
    batches = ordered_batches(source, indices[:count], image_size=224, batch_size=BATCH)

    def ours():
        return sum(len(images) for images in batches)

    paths = [os.path.join(folder, source.names[i]) for i in indices[:count]]
    pillow = loader(paths, central_crop, BATCH)

    def theirs():
        return sum(len(images) for images in pillow)

    contenders = {"ours": ours, "Pillow and DataLoader": theirs}
    rates(contenders, 1)
    report(
        options,
        f"224-px centre crops, {len(source)} photographs",
        rates(contenders, options.turns),
        "images/s",
        goals={"Pillow and DataLoader": 2.5},
        packages=["tensorflow", "pillow", "torch"],
    )


if __name__ == "__main__":
    main()
