"""Time from the start of train.py to the end of its first training step.

    python -m benchmarks.start_up

10,000 images of 32 pixels under configs/cifar10.cfg, whose files were just written. A new run looks
at every file, extracts the features of all and clusters them before its first step; a run that goes
on from a checkpoint within an epoch does not. The step is seen by the checkpoint behind it.
"""

import itertools
import pathlib
import tempfile

import numpy as np

from benchmarks.interleaved import arguments, report_row
from benchmarks.programs import SHARED, copy_images, seconds_until_file

IMAGES = SHARED / "data" / "cifar10" / "train"
GOAL_SECONDS = 20


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1)
    if not IMAGES.exists():
        print(f"Left out: {IMAGES} is not there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        images = pathlib.Path(scratch) / "images"
        count = copy_images(IMAGES, images, 20 if options.quick else 1000)
        found = {"a new run": [], "a run that goes on": []}
        for number in range(options.turns):
            run = pathlib.Path(scratch) / str(number)
            for steps, kind in zip(itertools.count(1), found):
                program = ["train.py", "--flagfile=configs/cifar10.cfg", f"--data_dir={images}"]
                program += [f"--run_dir={run}", "--checkpoint_every_steps=1"]
                checkpoint = run / "checkpoints" / f"epoch-0001-step-{steps:06d}"
                found[kind].append(seconds_until_file(program, checkpoint))
        for kind, seconds in found.items():
            middle = float(np.median(seconds))
            report_row(
                options,
                f"start to first training step, {count:,} images of 32 px, width 0.5",
                kind,
                f"{middle:.1f} s",
                f"({min(seconds):.1f} to {max(seconds):.1f} s)",
                f"{GOAL_SECONDS} s: {'reached' if middle < GOAL_SECONDS else 'missed'}",
                "",
                ["tensorflow", "keras", "faiss-cpu"],
            )


if __name__ == "__main__":
    main()
