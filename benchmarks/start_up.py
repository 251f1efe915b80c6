"""Time from the start of train.py to the end of its first training step.

    python -m benchmarks.start_up --data_dir=DATA

10,000 images of DATA/cifar10 (docs/data_sets.md) under configs/cifar10.cfg, whose files were just
written. A new run looks at every file, extracts the features of all and clusters them before its
first step; a run that goes on from a checkpoint within an epoch does not. The step is seen by the
checkpoint behind it.
"""

import itertools
import pathlib
import tempfile

from benchmarks.interleaved import arguments, data_set
from benchmarks.programs import copy_images, seconds_until_file
from benchmarks.rows import Subject, report_limit

GOAL_SECONDS = 20


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1, reads_images=True)
    folder = data_set(options, "cifar10/train")
    if folder is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        images = pathlib.Path(scratch) / "images"
        count = copy_images(folder, images, 20 if options.quick else 1000)
        found = {"a new run": [], "a run that goes on": []}
        for number in range(options.turns):
            run = pathlib.Path(scratch) / str(number)
            for steps, kind in zip(itertools.count(1), found):
                program = ["train.py", "--flagfile=configs/cifar10.cfg", f"--data_dir={images}"]
                program += [f"--run_dir={run}", "--checkpoint_every_steps=1"]
                checkpoint = run / "checkpoints" / f"epoch-0001-step-{steps:06d}"
                found[kind].append(seconds_until_file(program, checkpoint))
        subject = Subject(
            "start to first training step",
            f"{count:,} images of 32 px, width 0.5",
            ["tensorflow", "keras", "faiss-cpu"],
        )
        for kind, seconds in found.items():
            report_limit(options, subject, kind, seconds, "s", goal=GOAL_SECONDS)


if __name__ == "__main__":
    main()
