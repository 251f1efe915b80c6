"""Images that vanish, are damaged or are replaced while the run trains."""

import csv

import numpy as np

import textures
from faults.runs import Case, Program, result


def _start(case: Case, *flags) -> Program:
    """Starts the run on the same images as files, which is the time to disturb them."""
    folder = case.folder / "images"
    if not folder.exists():
        with np.load(case.undisturbed.data) as arrays:
            textures.write_folders(folder, arrays["images"], arrays["labels"])
    return case.start(*flags, data=folder)


def _paths(case: Case) -> list:
    return sorted((case.folder / "images").rglob("*.png"))


def _listed(case: Case) -> set[str]:
    """The images that RUN/unreadable.csv tells of."""
    with open(case.run_dir / "unreadable.csv", newline="") as file:
        return {row["path"] for row in csv.DictReader(file)}


def _lose(case: Case) -> set[str]:
    """Damages files in every way; returns the names of those that cannot be read any more."""
    paths = _paths(case)
    chosen = [paths[i] for i in case.rng.choice(len(paths), 10, replace=False)]
    good = chosen[0].read_bytes()
    contents = [None, None, None, b"", b"", b"no image", b"\x89PNG", good[: len(good) // 2]]
    for path, content in zip(chosen[1:9], contents, strict=True):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    chosen[9].unlink()
    chosen[9].mkdir()
    # Another image of the same name is as good as the one before.
    chosen[0].write_bytes(_paths(case)[-1].read_bytes())
    return {str(path.relative_to(case.folder / "images")) for path in chosen[1:]}


def lose_some(case: Case) -> None:
    """Files deleted, emptied, overwritten, cut, and replaced by a folder or another image."""
    with _start(case, "--max_bad_fraction=0.05") as process:
        process.wait_for(case.checkpoints, f"epoch-000{1 + case.turn % 2}-step-*")
        lost = _lose(case)
        printed = process.ended(0)
    assert "Images that cannot be read any more: " in printed, printed
    assert _listed(case) == lost, (sorted(_listed(case)), sorted(lost))


def lose_some_between(case: Case) -> None:
    """The same while the run is stopped by kill -9: it goes on without them."""
    with _start(case, "--max_bad_fraction=0.05") as process:
        process.wait_for(case.checkpoints, "epoch-0001-step-*")
        process.kill_now()
    lost = _lose(case)
    with _start(case, "--max_bad_fraction=0.05") as process:
        printed = process.ended(0)
    assert "Going on after" in printed and "Images that cannot be read any more: " in printed
    assert _listed(case) == lost, (sorted(_listed(case)), sorted(lost))
    assert result(case.run_dir).keys() == case.undisturbed.result.keys()


def lose_too_many(case: Case) -> None:
    """More images than --max_bad_fraction allows: a plain error, and the run goes on with them."""
    with _start(case) as process:
        process.wait_for(case.checkpoints, "epoch-0001-step-*")
        away = {path: path.read_bytes() for path in _paths(case)[::4]}
        for path in away:
            path.unlink()
        printed = process.ended(2)
    assert "Images of the run are gone. Received: " in printed and "Put them back" in printed
    assert ".png: the file is gone" in printed, printed
    for path, content in away.items():
        path.write_bytes(content)
    with _start(case) as process:
        assert "Going on after" in process.ended(0)
