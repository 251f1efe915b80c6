"""Disks that are full or read-only. Needs the right to mount a small file system."""

import contextlib
import errno
import pathlib
import subprocess
from collections.abc import Iterator

import numpy as np

from faults.kills import (
    evaluation,
    export,
    figures,
    finished_run,
    served_features,
    undisturbed_features,
    undisturbed_figures,
)
from faults.runs import Case, Program

FULL, READ_ONLY = "No space left", "Read-only"


def may_mount(folder) -> bool:
    """Whether a small file system can be mounted here."""
    try:
        with small_disk(folder, "1m"), read_only(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _mount(*arguments) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@contextlib.contextmanager
def _mounted(folder, *arguments) -> Iterator[None]:
    _mount(*arguments, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder, size) -> Iterator[None]:
    """Makes a folder a file system of its own, of a size, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield


@contextlib.contextmanager
def read_only(folder) -> Iterator[None]:
    """Makes a folder read-only, also for root."""
    with _mounted(folder, "--bind", folder):
        _mount("-o", "remount,bind,ro", folder)
        yield


@contextlib.contextmanager
def elsewhere(folder: pathlib.Path, place: pathlib.Path) -> Iterator[None]:
    """Keeps what is written to a folder in another place."""
    folder.mkdir(parents=True)
    place.mkdir(parents=True)
    with _mounted(folder, "--bind", place):
        yield


def fill(folder) -> pathlib.Path:
    """Fills a disk to its last byte; returns the file that does it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


def _says(process: Program, what, reason) -> None:
    """The program must end with a plain error that names the file and the reason."""
    printed = process.ended(2)
    message = printed[printed.find("This cannot be written") :]
    assert what in message and reason in message and "start the same command" in message, printed


def full_at_the_start(case: Case) -> None:
    """There is room for the list of images, and for no more."""
    with small_disk(case.run_dir, "100k"):
        with case.start() as process:
            _says(process, "", FULL)
        _mount("-o", "remount,size=500m", case.run_dir)
        case.assert_goes_on()


def full_in(subfolder, size="4k"):
    """There is no room from the start for what goes to one folder of the run."""

    def fault(case: Case) -> None:
        folder = case.run_dir / subfolder
        with small_disk(folder, size):
            filler = fill(folder)
            with case.start() as process:
                _says(process, subfolder, FULL)
            filler.unlink()
            _mount("-o", "remount,size=500m", folder)
            case.assert_goes_on()

    return fault


def full_at(moment, writing):
    """The run's own folder fills up at a moment: checkpoints and the like are on another disk.

    Args:
        moment: A file of the run that shows it, when it appears.
        writing: What cannot be written then.
    """

    def fault(case: Case) -> None:
        with contextlib.ExitStack() as disks:
            disks.enter_context(small_disk(case.run_dir, "10m"))
            for name in ("checkpoints", "assignments", "tensorboard"):
                disks.enter_context(elsewhere(case.run_dir / name, case.folder / name))
            with case.start() as process:
                process.wait_for(case.run_dir, moment)
                filler = fill(case.run_dir)
                _says(process, writing, FULL)
            filler.unlink()
            case.assert_goes_on()

    return fault


def full_after_a_checkpoint(case: Case) -> None:
    """The disk of the checkpoints fills up when there are some: the last one stays good."""
    with small_disk(case.checkpoints, "100m"):
        with case.start() as process:
            process.wait_for(case.checkpoints, f"epoch-000{1 + case.turn % 2}-step-*")
            filler = fill(case.checkpoints)
            _says(process, "checkpoints/epoch-", FULL)
        filler.unlink()
        assert "Going on after" in case.assert_goes_on()


def full_for_evaluation(case: Case) -> None:
    """No room for the report."""
    expected, _ = undisturbed_figures(case.undisturbed)
    run_dir = finished_run(case)
    with small_disk(run_dir / "evaluation", "8k"):
        filler = fill(run_dir / "evaluation")
        with evaluation(run_dir) as process:
            _says(process, "report", FULL)
        filler.unlink()
        with evaluation(run_dir) as process:
            process.ended(0)
        assert figures(run_dir) == expected


def full_for_export(case: Case) -> None:
    """Room for a part of the exported model: it is not kept."""
    expected = undisturbed_features(case.undisturbed)
    out = case.folder / "out"
    with small_disk(out, f"{int(case.rng.integers(4, 600))}k"):
        with export(case.undisturbed.run_dir, out) as process:
            _says(process, "out/1", FULL)
        assert not any(out.iterdir())
        _mount("-o", "remount,size=100m", out)
        with export(case.undisturbed.run_dir, out) as process:
            process.ended(0)
        np.testing.assert_array_equal(served_features(out / "1"), expected)


def read_only_at_the_start(case: Case) -> None:
    """A folder that lets no run begin."""
    case.run_dir.mkdir()
    with read_only(case.run_dir), case.start() as process:
        _says(process, "run", READ_ONLY)
    assert not any(case.run_dir.iterdir())
    case.assert_goes_on()


def read_only_when_it_goes_on(case: Case) -> None:
    """A run that was killed, and whose folder is read-only when it is started again."""
    with case.start() as process:
        process.wait_for(case.checkpoints, "epoch-*")
        process.kill_now()
    with read_only(case.run_dir), case.start() as process:
        _says(process, "run", READ_ONLY)
    case.assert_goes_on()


def read_only_meanwhile(subfolder):
    """A folder of the run that becomes read-only while it trains."""

    def fault(case: Case) -> None:
        with case.start() as process:
            process.wait_for(case.checkpoints, f"epoch-000{1 + case.turn % 2}-step-*")
            with read_only(case.run_dir / subfolder):
                _says(process, subfolder, READ_ONLY)
        case.assert_goes_on()

    return fault


def read_only_for_evaluation(case: Case) -> None:
    """A run whose folder lets no report be written."""
    expected, _ = undisturbed_figures(case.undisturbed)
    run_dir = finished_run(case)
    with read_only(run_dir), evaluation(run_dir) as process:
        _says(process, "evaluation", READ_ONLY)
    with evaluation(run_dir) as process:
        process.ended(0)
    assert figures(run_dir) == expected


def read_only_for_export(case: Case) -> None:
    """A folder that lets no model be written."""
    expected = undisturbed_features(case.undisturbed)
    out = case.folder / "out"
    out.mkdir()
    with read_only(out), export(case.undisturbed.run_dir, out) as process:
        _says(process, "out/1", READ_ONLY)
    with export(case.undisturbed.run_dir, out) as process:
        process.ended(0)
    np.testing.assert_array_equal(served_features(out / "1"), expected)
