"""Whole programs, watched from outside: when they print a line, or leave a file."""

import contextlib
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

REPOSITORY = pathlib.Path(__file__).parent.parent
_POLL_SECONDS = 0.02


@contextlib.contextmanager
def running(arguments: Sequence[str], **options) -> Iterator[subprocess.Popen]:
    """Runs a Python program in the repository's folder, and ends it with the context."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def seconds_between_lines(arguments: Sequence[str], pattern: str, count: int) -> float:
    """Mean seconds between the last three of so many lines, after which the program ends.

    Args:
        arguments: The program and its arguments.
        pattern: A regular expression for what the lines start with.
        count: How many of them to wait for, at least 3.

    Raises:
        RuntimeError: If the program ends before.
    """
    times = []
    with running(arguments) as process:
        for line in process.stdout:
            if re.match(pattern, line):
                times.append(time.perf_counter())
                if len(times) == count:
                    return (times[-1] - times[-3]) / 2
    raise RuntimeError(f"{arguments[0]} ended after {len(times)} lines with {pattern!r}")


def seconds_until_file(arguments: Sequence[str], path: pathlib.Path) -> float:
    """Seconds from the start of a program until a file or folder is there; then the program ends.

    Raises:
        RuntimeError: If the program ends before.
    """
    started = time.perf_counter()
    with running(arguments) as process:
        while not path.exists():
            if process.poll() is not None:
                raise RuntimeError(f"{arguments[0]} ended without {path}")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - started


def copy_images(source: pathlib.Path, destination: pathlib.Path, per_class: int) -> int:
    """Copies the first images of each class folder, and returns how many they are."""
    count = 0
    for folder in sorted(source.iterdir()):
        (destination / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:per_class]:
            shutil.copy(path, destination / folder.name)
            count += 1
    return count
