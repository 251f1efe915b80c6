"""Disks that are full or read-only. Needs the right to mount a small file system."""

import contextlib
import subprocess
from collections.abc import Iterator

from faults.runs import assert_goes_on, ended, start, wait_for


def may_mount(folder) -> bool:
    """Whether a small file system can be mounted here."""
    try:
        with small_disk(folder, "1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def small_disk(folder, size) -> Iterator[None]:
    """Mounts a file system of a size in memory."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def fill(size):
    """A disk that is too small for the run: it says so, and goes on when there is room."""

    def fault(data, whole, folder, rng) -> None:
        disk = folder / "disk"
        with small_disk(disk, size):
            printed = ended(start(data, disk / "run"), 2)
            assert "This cannot be written" in printed and "No space left" in printed, printed
            _mount("-o", "remount,size=500m", str(disk))
            assert_goes_on(data, disk / "run", whole)

    return fault


def become_read_only(data, whole, folder, rng) -> None:
    """A disk that turns read-only in the middle of the run."""
    disk = folder / "disk"
    with small_disk(disk, "500m"):
        process = start(data, disk / "run")
        wait_for(process, disk / "run" / "checkpoints", "epoch-0001-step-*")
        # Files that are open for writing keep it from becoming so: then it is tried again.
        for _ in range(1000):
            done = subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True)
            if done.returncode == 0 or process.poll() is not None:
                break
        if done.returncode:
            # TensorBoard's event file stays open: bind the folder of checkpoints read-only.
            checkpoints = str(disk / "run" / "checkpoints")
            _mount("--bind", checkpoints, checkpoints)
            _mount("-o", "remount,bind,ro", checkpoints)
        printed = ended(process, 2)
        assert "This cannot be written" in printed and "Read-only" in printed, printed
        if done.returncode:
            subprocess.run(["umount", checkpoints], check=True)
        else:
            _mount("-o", "remount,rw", str(disk))
        assert_goes_on(data, disk / "run", whole)
