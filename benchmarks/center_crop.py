"""JPEG files to the centre crops that clustering sees: ours, and Pillow with a DataLoader.

    python -m benchmarks.center_crop --data_dir=DATA

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
    from benchmarks.photographs import BATCH, compare
    from benchmarks.pillow_loader import SIDE, central_crop
    from dc_keras.data.batches.ordered import ordered_batches

    def ours(source, indices):
        return ordered_batches(source, indices, image_size=SIDE, batch_size=BATCH)

    compare(options, "224-px centre crops", ours, central_crop, goal=2.5)


if __name__ == "__main__":
    main()
