"""Whole epochs: train.py, and the method in plain PyTorch.

    python -m benchmarks.epoch --data_dir=DATA

Both do the same work on the same images, at equal width, batch and number of clusters: features of
all, PCA, k-means, and a training step for every batch, with images read and augmented. The time is
the mean of the second and third epoch, from the end of one clustering to the end of the next: ours
with its checkpoints and logs, PyTorch's as benchmarks/torch_training.py has it. docs/data_sets.md
says what DATA holds. Needs PyTorch: pip install -r requirements-torch.txt
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import tempfile

from benchmarks.interleaved import arguments, data_set, in_turn, precisions
from benchmarks.programs import copy_images, seconds_between_lines
from benchmarks.rows import Subject, report_speed

PLAIN = "plain PyTorch"


@dataclasses.dataclass(frozen=True)
class Task:
    """What both programs are trained on.

    Attributes:
        name: Of the data set.
        folder: Where it is among data sets.
        side: Of its images.
        width: Of the network.
        per_class: How many images of each class.
    """

    name: str
    folder: str
    side: int
    width: float
    per_class: int


TASKS = [
    Task("CIFAR-10", "cifar10/train", side=32, width=0.5, per_class=200),
    Task("Tiny ImageNet", "tiny_imagenet20", side=64, width=0.25, per_class=50),
]


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1, reads_images=True)
    # One data set shows that it works.
    quick = [dataclasses.replace(TASKS[0], width=1 / 4, per_class=20)]
    for task in quick if options.quick else TASKS:
        folder = data_set(options, task.folder)
        if folder is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            images = pathlib.Path(scratch) / "images"
            count = copy_images(folder, images, task.per_class)
            compare(options, task, images, count)


def compare(options: argparse.Namespace, task: Task, images: pathlib.Path, count: int) -> None:
    """Compares the two programs on so many images of a folder; PyTorch's is in float32 always."""
    runs = (images.parent / str(number) for number in itertools.count())
    settings = {
        "image_size": task.side,
        "width": task.width,
        "num_clusters": 100,
        "batch_size": 64,
        "epochs": 5,
    }
    given = [f"--{name}={value}" for name, value in settings.items()]

    def ours(precision):
        program = ["train.py", *given, f"--data_dir={images}", f"--run_dir={next(runs)}"]
        program.append(f"--precision={precision}")
        return count / seconds_between_lines(program, r" *\d+/", 4)

    def theirs():
        program = ["-m", "benchmarks.torch_training", str(images), *given]
        return count / seconds_between_lines(program, r'\{"epoch"', 3)

    contenders = {precision: functools.partial(ours, precision) for precision in precisions()}
    found = in_turn({**contenders, PLAIN: theirs}, options.turns)
    for precision in contenders:
        setting = f"{task.name}, {count:,} images of {task.side} px, width {task.width:g}"
        report_speed(
            options,
            Subject(
                "whole epoch",
                f"{setting}, {precision}",
                ["tensorflow", "keras", "torch", "faiss-cpu"],
            ),
            {"ours": found[precision], PLAIN: found[PLAIN]},
            "images/s",
            goals={PLAIN: 1 / 0.35},
        )


if __name__ == "__main__":
    main()
