"""Training steps of the published network: ours, PyTorch's, and the machine's convolutions alone.

    python -m benchmarks.train_step

VGG16-BN at width 1 with 1,000 clusters, at 32, 64 and 224 pixels, in float32 and in bfloat16.
Needs PyTorch: pip install -r requirements-torch.txt
"""

from benchmarks.interleaved import arguments
from benchmarks.networks import CHANNELS_LAST, NCHW, ROOF, compare


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=2)
    compare(options, "train step", {NCHW: 2.5, CHANNELS_LAST: 1.2, ROOF: 0.65}, train=True)


if __name__ == "__main__":
    main()
