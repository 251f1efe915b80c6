"""Small deterministic runs in processes of their own, to be disturbed and compared."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

import textures
from dc_keras.runs.run_directory import RunDirectory
from events import told_tags
from repository import REPOSITORY
from tiny import FLAGS

# K-means in two levels takes longer, so that it is hit.
TWO_LEVELS = "--kmeans_two_level_from=4"
# Of 200 images.
SMALL = [*FLAGS, "--batch_size=8", "--deterministic", "--checkpoint_every_steps=5", TWO_LEVELS]
IMPROVED = [*SMALL, "--mode=improved"]
# Dropout, PCA with whitening and a head that is drawn anew for each clustering.
PAPER = [*SMALL, "--mode=paper"]
# As large as the quickstart, whose checkpoints are those of its epochs.
QUICKSTART = ["--preset=quickstart", "--epochs=2", "--deterministic", TWO_LEVELS]
# Of one process on a machine that is busy with others.
LIMIT_SECONDS = 900
# What a program shows on a terminal as it enters a stage.
_STAGES = {
    "features:": "extraction",
    "k-means:": "k-means",
    "epoch ": "training",
    "Done.": "end",
}
_SIGNS = re.compile(r"features:|k-means:|epoch (?=\d+/)|Done\.")


class Missed(Exception):
    """The fault came too late to be one, which says nothing about the program."""


class Program(subprocess.Popen):
    """A program of the repository in a process of its own, and all that it prints.

    Args:
        *arguments: Of Python.
        environment: Variables to set.
        terminal: Whether its standard error is a terminal, where it shows progress bars.
    """

    def __init__(self, *arguments, environment=None, terminal=False):
        self._chunks = []
        out, to_out = os.pipe()
        err, to_err = pty.openpty() if terminal else os.pipe()
        if terminal:
            # On one without columns tqdm shows nothing.
            termios.tcsetwinsize(to_err, (24, 100))
        try:
            super().__init__(
                [sys.executable, *map(str, arguments)],
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
            )
        finally:
            os.close(to_out)
            os.close(to_err)
        self._readers = [
            threading.Thread(target=self._read, args=(handle,), daemon=True)
            for handle in (out, err)
        ]
        for reader in self._readers:
            reader.start()

    def __exit__(self, *exception):
        """Leaves no process behind, whatever has failed."""
        if self.poll() is None:
            self.kill()
        self.wait()

    def _read(self, handle) -> None:
        # A terminal ends with an error where a pipe ends with no bytes.
        with open(handle, "rb", buffering=0) as file, contextlib.suppress(OSError):
            while chunk := file.read(65536):
                self._chunks.append(chunk)

    @property
    def printed(self) -> str:
        """All that it has printed so far, of both streams."""
        return b"".join(self._chunks).decode(errors="replace")

    @property
    def stages(self) -> list[str]:
        """The stages that were entered, in order."""
        return [_STAGES[sign] for sign, _ in itertools.groupby(_SIGNS.findall(self.printed))]

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits for what is seen from outside.

        Raises:
            Missed: If the program ends well before that was seen.
        """
        deadline = time.monotonic() + LIMIT_SECONDS
        while not reached():
            if self.poll() is not None:
                self.ended(0)
                raise Missed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.001)

    def wait_for(self, folder, pattern) -> None:
        """Waits until a file of such a name is in a folder; see `wait_until`."""
        self.wait_until(lambda: any(pathlib.Path(folder).glob(pattern)))

    def freeze(self, here: Callable[[], bool], within: float, rng: np.random.Generator) -> None:
        """Stops the process at a random moment at which something holds, until SIGCONT or SIGKILL.

        Args:
            here: Whether it holds, as seen from outside.
            within: How many seconds, at most, after it began to hold.
            rng: Draws the moment.

        Raises:
            Missed: If the program ends before.
        """
        while True:
            self.wait_until(here)
            time.sleep(rng.uniform(0, within))
            self.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # for what was printed to arrive
            if self.poll() is None and here():
                return
            self.send_signal(signal.SIGCONT)

    def ended(self, code) -> str:
        """Waits for the end, which must be with a code; returns all that was printed."""
        self.wait(LIMIT_SECONDS)
        for reader in self._readers:
            reader.join(LIMIT_SECONDS)
        assert self.returncode == code, f"exit code {self.returncode}:\n{self.printed}"
        assert "Traceback" not in self.printed, self.printed
        return self.printed

    def kill_now(self) -> None:
        """kill -9. A program that has ended was not killed.

        Raises:
            Missed: If it has ended.
        """
        if self.poll() is not None:
            raise Missed
        self.kill()
        self.wait()


@dataclasses.dataclass(frozen=True, eq=False)
class Undisturbed:
    """A run that nothing has disturbed, which is what all others are compared with.

    Attributes:
        data: Its images.
        flags: All other flags of train.py but --run_dir.
        run_dir: Its folder.
        seconds: How long it took.
        result: What it computed.
    """

    data: str
    flags: list[str]
    run_dir: pathlib.Path
    seconds: float
    result: dict[str, np.ndarray]

    @classmethod
    def run(cls, data, flags, run_dir) -> "Undisturbed":
        """Runs it."""
        started = time.monotonic()
        with Program("train.py", *flags, f"--data_dir={data}", f"--run_dir={run_dir}") as program:
            program.ended(0)
        return cls(data, flags, run_dir, time.monotonic() - started, result(run_dir))

    @functools.cached_property
    def seconds_of(self) -> dict[str, float]:
        """How long each stage took at least."""
        seconds = [record["seconds"] for record in RunDirectory(self.run_dir).read_metrics()]
        names = {"extraction": "features", "k-means": "kmeans", "training": "train"}
        return {stage: min(each[name] for each in seconds) for stage, name in names.items()}


@dataclasses.dataclass(frozen=True)
class Case:
    """One try of a fault.

    Attributes:
        undisturbed: The run to compare with.
        folder: An empty folder.
        turn: The number of the try, from 0.
        rng: Draws moments and places.
    """

    undisturbed: Undisturbed
    folder: pathlib.Path
    turn: int
    rng: np.random.Generator

    @property
    def run_dir(self) -> pathlib.Path:
        """Where the run is disturbed."""
        return self.folder / "run"

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where that run has its checkpoints."""
        return self.run_dir / "checkpoints"

    def start(self, *more, data=None, **options) -> Program:
        """Starts the run, or goes on with it."""
        data = data or self.undisturbed.data
        flags = [*self.undisturbed.flags, f"--data_dir={data}", f"--run_dir={self.run_dir}", *more]
        return Program("train.py", *flags, **options)

    def assert_goes_on(self) -> str:
        """The same command must end with the undisturbed result, and leave nothing half-written.

        Returns:
            What it printed.
        """
        with self.start() as program:
            printed = program.ended(0)
        assert_same(result(self.run_dir), self.undisturbed.result)
        left = [path for path in self.run_dir.rglob(".*") if path.name != ".lock"]
        assert not left, f"left behind: {left}"
        return printed

    def reach_stage(self, process: Program, stage, clusterings=3) -> None:
        """Freezes a process on a terminal at a random moment of a stage.

        Args:
            process: That of the run.
            stage: "extraction", "k-means" or "training".
            clusterings: The last turn of the loop to choose from; the third is of the final
                network, behind the last epoch.
        """
        turn = self.rng.integers(1, clusterings + 1)
        process.freeze(
            lambda: process.stages[-1:] == [stage] and process.stages.count(stage) >= turn,
            0.5 * self.undisturbed.seconds_of[stage],
            self.rng,
        )

    def reach_file(self, process: Program, pattern, within=0.01) -> None:
        """Freezes a process when there is a file of such a name; ".NAME.*" is one in writing."""
        process.freeze(lambda: any(self.run_dir.glob(pattern)), within, self.rng)


def goes_on(*disturbances):
    """A fault: what disturbs a run, one after the other, and the end it must come to all the same.

    Args:
        *disturbances: Functions of the case.
    """

    def fault(case: Case) -> None:
        for disturb in disturbances:
            disturb(case)
        case.assert_goes_on()

    return fault


def cases(undisturbed, folder, turn, seed) -> Iterator[Case]:
    """Cases of one try, each with draws of its own, for a fault that may miss."""
    for number in range(8):
        place = folder / f"{turn}-{number}"
        place.mkdir(parents=True)
        yield Case(undisturbed, place, turn, np.random.default_rng([*seed, turn, number]))


def strike(fault, undisturbed, folder, turn=0, seed=(1,)) -> None:
    """Has a fault happen once, which takes more than one case when it misses.

    Raises:
        AssertionError: If the run did not survive it, or was missed each time.
    """
    for case in cases(undisturbed, folder, turn, seed):
        with contextlib.suppress(Missed):
            return fault(case)
    raise AssertionError("the fault came too late each time")


def once(function):
    """Has a function compute its value for an undisturbed run once, for all tries together."""
    lock, values = threading.Lock(), {}

    @functools.wraps(function)
    def compute(undisturbed: Undisturbed):
        with lock:
            if undisturbed not in values:
                values[undisturbed] = function(undisturbed)
        return values[undisturbed]

    return compute


def write_images(path: pathlib.Path) -> pathlib.Path:
    """Writes the images of the small runs as an .npz file; returns its path."""
    images, labels = textures.textures(50)
    np.savez(path, images=images, labels=labels)
    return path


def result(run_dir) -> dict[str, np.ndarray]:
    """All that a run computed, without times."""
    run = RunDirectory(run_dir)
    found = {path.name: np.load(path) for path in run.assignments.iterdir()}
    for path in run.newest_checkpoints()[0].glob("*.npz"):
        with np.load(path) as arrays:
            found |= {f"{path.name}/{name}": arrays[name] for name in arrays}
    for record in run.read_metrics():
        kept = {n: v for n, v in record.items() if n not in ("seconds", "images_per_second")}
        found[f"epoch {record['epoch']}"] = np.array(json.dumps(kept, sort_keys=True))
    found["tensorboard"] = np.array(told_tags(run.tensorboard))
    found["clusters.csv"] = np.array((run.model / "clusters.csv").read_text())
    return found


def assert_same(found: dict, expected: dict) -> None:
    """Compares two results bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
