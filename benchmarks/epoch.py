"""Whole epochs: train.py, and the method in plain PyTorch.

    python -m benchmarks.epoch

Both do the same work on the same images, at equal width, batch and number of clusters: features of
all, PCA, k-means, and a training step for every batch, with images read and augmented. The time is
the mean of the second and third epoch, from the end of one clustering to the end of the next: ours
with its checkpoints and logs, PyTorch's as ../shared/reference/torch_reference.py has it (two
loader processes, its own layout). Needs PyTorch: pip install -r requirements-torch.txt
"""

import argparse
import functools
import itertools
import pathlib
import tempfile

from benchmarks.interleaved import arguments, in_turn, precisions, report
from benchmarks.programs import REFERENCE, SHARED, copy_images, seconds_between_lines

CLUSTERS, BATCH, UNITS = 100, 64, 4096
SETS = {
    # Folder, side of the images, width of the network, images of each class.
    "CIFAR-10": ("cifar10/train", 32, 0.5, 200),
    "Tiny ImageNet": ("tiny_imagenet20", 64, 0.25, 50),
}


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1)
    if not REFERENCE.exists():
        print(f"Left out: {REFERENCE} is not there")
        return
    # One data set shows that it works.
    sets = list(SETS.items())[: 1 if options.quick else None]
    for name, (folder, side, width, per_class) in sets:
        if options.quick:
            width, per_class = 1 / 4, 20
        with tempfile.TemporaryDirectory() as scratch:
            images = pathlib.Path(scratch) / "images"
            count = copy_images(SHARED / "data" / folder, images, per_class)
            what = f"whole epoch, {name}, {count:,} images of {side} px, width {width:g}"
            compare(options, what, images, count, side, width)


def compare(
    options: argparse.Namespace,
    what: str,
    images: pathlib.Path,
    count: int,
    side: int,
    width: float,
) -> None:
    """Compares the two programs on so many images of a folder; PyTorch's is in float32 always."""
    runs = (images.parent / str(number) for number in itertools.count())

    def ours(precision):
        flags = {
            "data_dir": images,
            "run_dir": next(runs),
            "image_size": side,
            "width": width,
            "num_clusters": CLUSTERS,
            "batch_size": BATCH,
            "epochs": 5,
            "precision": precision,
        }
        given = [f"--{flag}={value}" for flag, value in flags.items()]
        return count / seconds_between_lines(["train.py", *given], "Clustering ", 4)

    def theirs():
        flags = {
            "data": images,
            "test": images,
            "test_per_class": 1,
            "size": side,
            "width": width,
            "fc": round(UNITS * width),
            "k": CLUSTERS,
            "batch": BATCH,
            "epochs": 4,
        }
        given = [text for flag, value in flags.items() for text in (f"--{flag}", value)]
        return count / seconds_between_lines([REFERENCE, *given], '{"epoch"', 3)

    contenders = {precision: functools.partial(ours, precision) for precision in precisions()}
    found = in_turn({**contenders, "plain PyTorch": theirs}, options.turns)
    for precision in precisions():
        report(
            options,
            f"{what}, {precision}",
            {"ours": found[precision], "plain PyTorch": found["plain PyTorch"]},
            "images/s",
            goals={"plain PyTorch": 1 / 0.35},
            packages=["tensorflow", "keras", "torch", "faiss-cpu"],
        )


if __name__ == "__main__":
    main()
