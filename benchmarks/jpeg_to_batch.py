"""JPEG files to augmented 224-pixel batches: ours, and Pillow with a DataLoader.

    python -m benchmarks.jpeg_to_batch --data_dir=DATA

Reads the photographs of DATA/photos (docs/data_sets.md) on two cores: two worker processes there,
tf.data's threads here. Files are in memory from the first, uncounted turn on.
Needs PyTorch: pip install -r requirements-torch.txt
"""

from benchmarks.interleaved import arguments
from dc_keras.process import prepare_process


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=2, reads_images=True)
    prepare_process()
    import numpy as np

    from benchmarks.photographs import BATCH, compare
    from benchmarks.pillow_loader import SIDE, random_crop
    from dc_keras.data.batches.listed import NaturalSampler
    from dc_keras.data.batches.training import TrainingBatches
    from dc_keras.data.pixels.augmentation import Augmentation

    def ours(source, indices):
        sampler = NaturalSampler(len(source), len(indices))
        sampler.set_labels(np.zeros(len(source), np.int32))
        sampler.begin_epoch(0, 0)
        return TrainingBatches(
            source, sampler, Augmentation(SIDE), steps=len(indices) // BATCH, batch_size=BATCH
        ).dataset()

    compare(options, "augmented 224-px batches", ours, random_crop, goal=3)


if __name__ == "__main__":
    main()
