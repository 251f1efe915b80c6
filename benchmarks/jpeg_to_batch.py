"""JPEG files to augmented 224-pixel batches: ours, and Pillow with a DataLoader.

    python -m benchmarks.jpeg_to_batch

Reads a folder of photographs, $DC_KERAS_PHOTOS or ../shared/data/photos, on two cores: two worker
processes there, tf.data's threads here. Files are in memory from the first, uncounted turn on.
Needs PyTorch: pip install -r requirements-torch.txt
"""

from benchmarks.interleaved import arguments
from dc_keras.runtime import prepare_process


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=2)
    prepare_process()
    import numpy as np

    from benchmarks.photographs import BATCH, compare
    from benchmarks.pillow_loader import SIDE, random_crop
    from dc_keras.data.balanced import training_batches
    from dc_keras.data.samplers import NaturalSampler

    def ours(source, indices):
        sampler = NaturalSampler(len(source), len(indices))
        sampler.set_labels(np.zeros(len(source), np.int32))
        sampler.begin_epoch(0, 0)
        return training_batches(
            source,
            sampler,
            num_batches=len(indices) // BATCH,
            batch_size=BATCH,
            image_size=SIDE,
        )

    compare(options, "augmented 224-px batches", ours, random_crop, goal=3)


if __name__ == "__main__":
    main()
