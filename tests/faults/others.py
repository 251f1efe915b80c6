"""Images that vanish, clocks that jump, and a second process."""

import csv
import os
import pathlib

import numpy as np

import textures
from faults.runs import assert_goes_on, ended, start, wait_for


def lose_images(data, whole, folder, rng) -> None:
    """Files deleted, emptied, overwritten, and replaced by a folder while the run trains."""
    with np.load(data) as arrays:
        textures.write_folders(folder / "images", arrays["images"], arrays["labels"])
    process = start(folder / "images", folder / "run", "--max_bad_fraction=0.05")
    wait_for(process, folder / "run" / "checkpoints", "epoch-0001-step-*")
    paths = sorted((folder / "images").rglob("*.png"))
    lost = [paths[i] for i in rng.choice(len(paths), 8, replace=False)]
    contents = [None, None, None, b"", b"", b"no image", b"\x89PNG", ""]
    for path, content in zip(lost, contents, strict=True):
        path.unlink()
        if content == "":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
    assert "cannot be read any more" in ended(process, 0)
    with open(folder / "run" / "unreadable.csv", newline="") as file:
        listed = {row["path"] for row in csv.DictReader(file)}
    assert listed == {str(path.relative_to(folder / "images")) for path in lost}


def lose_too_many_images(data, whole, folder, rng) -> None:
    """More images lost than --max_bad_fraction allows: a plain error that names them."""
    with np.load(data) as arrays:
        textures.write_folders(folder / "images", arrays["images"], arrays["labels"])
    process = start(folder / "images", folder / "run")
    wait_for(process, folder / "run" / "checkpoints", "epoch-0001-step-*")
    for path in sorted((folder / "images").rglob("*.png"))[::4]:
        path.unlink()
    printed = ended(process, 2)
    assert "Images of the run are gone" in printed and ".png: the file is gone" in printed


_JUMPING_CLOCK = """
import time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    return real() + (-7200 if calls[0] // 50 % 2 else 86400)
time.time = jumping
"""


def let_the_clock_jump(data, whole, folder, rng) -> None:
    """The time of day jumps by hours, there and back, all along."""
    (folder / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    flags = ["--checkpoint_every_minutes=0.05"]
    ended(start(data, folder / "run", *flags, environment=environment), 0)
    assert_goes_on(data, folder / "run", whole)


def start_a_second_process(data, whole, folder, rng) -> None:
    """The second process refuses; after the first was killed, it takes over."""
    first = start(data, folder / "run")
    wait_for(first, folder / "run" / "checkpoints", "epoch-0001-step-*")
    printed = ended(start(data, folder / "run"), 2)
    assert "Another process trains in this run directory" in printed
    assert f'"pid": {first.pid}' in printed
    first.kill()
    first.communicate()
    assert (pathlib.Path(folder) / "run" / ".lock").exists()
    assert_goes_on(data, folder / "run", whole)
