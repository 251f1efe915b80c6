"""Features of images: ours, PyTorch's, and the machine's convolutions alone.

    python -m benchmarks.extraction

VGG16-BN at width 1 up to fc7, at 32, 64 and 224 pixels, in float32 and in bfloat16.
Needs PyTorch: pip install -r requirements-torch.txt
"""

from benchmarks.interleaved import arguments
from benchmarks.networks import CHANNELS_LAST, NCHW, ROOF, compare


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=2)
    compare(options, "extraction", {NCHW: 1.5, CHANNELS_LAST: 1.5, ROOF: 0.8}, train=False)


if __name__ == "__main__":
    main()
