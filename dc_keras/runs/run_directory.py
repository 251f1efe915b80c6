"""The run directory: what a run is, what it has done, and where it goes on from.

    RUN/flags.cfg               the settings, a flagfile that repeats the run
        manifest.csv            index, path and label of every image trained on
        manifest.json           how many these are, and the checksum of manifest.csv
        unreadable.csv          image files that were left out, with the reason
        passed_over.csv         what else lies among the images and is not used, by kind
        given.json              features or network of a run that was not trained
        metrics.jsonl           one JSON object an epoch
        log.txt                 what was started when, and each clustering in words
        assignments/            epoch-0001.npy, ...: cluster of each image, smallest integer type
        checkpoints/            epoch-0001/, ...: everything needed to go on after that epoch;
                                epoch-0002-step-000100/: the same, after so many of its steps
        tensorboard/            event files
        model/                  the trained network, its whitening, centroids and clusters
        evaluation/             what evaluate.py found
        exploration/            what dc-keras gallery, table and sort worked out about the images
        gallery/                the page of dc-keras gallery
        look/                   the sheets of dc-keras look
        names.json, groups.csv  names of clusters, and groups of them, from dc-keras apply
        backup.json             by what name its copy knows it, with --backup_dir
        .lock                   held by the process that trains here

Epochs are counted from 1 in all names: the clustering `epoch-0001.npy` was made at the beginning of
epoch 1, the checkpoint `epoch-0001` at its end.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import keras
import numpy as np
from absl import logging

from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.files import (
    append_line,
    explain_write_errors,
    remove_directory,
    remove_leftovers,
    write_atomically,
)
from dc_keras.runs.checkpoints import (
    Checkpoint,
    DamagedCheckpointError,
    Place,
    is_checkpoint,
    load_weights,
    write_checkpoint,
    write_weights,
)
from dc_keras.runs.event_files import forget_events_after
from dc_keras.runs.lock import HeldLock, lock

Loaded = TypeVar("Loaded")
_CHECKPOINT_NAME = re.compile(r"epoch-(\d{4,})(?:-step-(\d{6,}))?$")


class RunDirectory:
    """Names, writes and reads the files of a run.

    Args:
        path: The run's folder; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.flags = self.path / "flags.cfg"
        self.manifest = self.path / "manifest.csv"
        self.unreadable = self.path / "unreadable.csv"
        self.given = self.path / "given.json"
        self.metrics = self.path / "metrics.jsonl"
        self.log_file = self.path / "log.txt"
        self.assignments = self.path / "assignments"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model"
        self.evaluation = self.path / "evaluation"
        self._lock: HeldLock | None = None
        self._warned_of: set[int] = set()

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.flags.exists()

    def config(self) -> TrainingConfig:
        """The settings of the run.

        Raises:
            InputError: If no run was started here, or by a version with other flags, or if its
                settings are damaged.
        """
        if not self.exists():
            raise InputError(
                f"There is no run in this folder. Received: --run_dir={self.path}, which has no "
                "flags.cfg. Expected the --run_dir of a training by train.py."
            )
        TrainingConfig.check_whole(self.flags)
        try:
            config = TrainingConfig.from_arguments(
                [*TrainingConfig.ADDED, f"--flagfile={self.flags}"]
            )
        except InputError as error:
            raise InputError(
                f"The settings of the run cannot be read by this version. Received: {self.flags} "
                f"({error}) Go on with the version that began it, or start a new --run_dir."
            ) from error
        return dataclasses.replace(config, run_dir=str(self.path))

    def completed(self, config: TrainingConfig) -> TrainingConfig:
        """The settings with what the run, if there is one, has found out for itself.

        That is the range of values of its images, where none is given.
        """
        if config.value_range or not self.exists():
            return config
        return dataclasses.replace(config, value_range=self.config().value_range)

    def check(self, config: TrainingConfig) -> None:
        """Checks that a run with these settings may write here. Changes nothing.

        Raises:
            InputError: If the folder holds a run of another configuration, a run that must not be
                continued, or is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"The run directory is a file. Received: --run_dir={self.path}. Expected a folder, "
                "or a name that is still free."
            )
        if not self.exists():
            return
        if config.resume == "never":
            raise InputError(
                f"The run directory already holds a run. Received: --run_dir={self.path} with "
                "--resume=never. Use another --run_dir, or --resume=auto to go on with it."
            )
        settings, config = self.config(), self.completed(config)
        # A run that began with a checkpoint of another one goes on with the command that began it.
        known = config.resume in ("auto", self._began_with())
        if not known and not self.holds(config.resume):
            raise InputError(
                "The run directory already holds a run, which a checkpoint of another one "
                f"would replace. Received: --run_dir={self.path} with --resume={config.resume}. "
                "Use another --run_dir, or a checkpoint of this run; to go on with the run that "
                "is there, give the same command with --resume=auto."
            )
        if not settings.data_dir:
            raise InputError(
                "The run directory holds imported weights alone, from which no training can go on. "
                f"Received: --run_dir={self.path}. Use another --run_dir, with "
                f"--init_from={self.path} to start from them."
            )
        if self.given.exists():
            raise InputError(
                "The run directory holds clusters of given features, from which no training can "
                f"go on. Received: --run_dir={self.path}. Use another --run_dir."
            )
        differing = settings.differences(config)
        if differing:
            lines = [
                f"  --{name}: {was!r} in the run, {now!r} now"
                for name, (was, now) in differing.items()
            ]
            raise InputError(
                f"The run directory holds a run of another configuration. Received: "
                f"--run_dir={self.path}, where these flags differ:\n"
                + "\n".join(lines)
                + f"\nUse another --run_dir, or go on with --flagfile={self.flags}."
            )

    def _began_with(self) -> str:
        """The --resume of the latest command of this run; read as flags, it would be "auto"."""
        text = self.flags.read_text(encoding="utf-8", errors="replace")
        given = re.findall(r"^--resume=(.*)$", text, re.MULTILINE)
        return given[-1] if given else "auto"

    def holds(self, checkpoint: str | os.PathLike) -> bool:
        """Whether a path is that of a checkpoint of this run."""
        return pathlib.Path(checkpoint).absolute().parent == self.checkpoints.absolute()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training here, and tidies up what a killed one left.

        Raises:
            InputError: If another process is training here.
        """
        with contextlib.ExitStack() as held:
            with explain_write_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = held.enter_context(lock(self.path / ".lock"))
                for folder in (self.path, self.assignments, self.checkpoints, self.tensorboard):
                    remove_leftovers(folder)
            try:
                yield
            finally:
                self._lock = None

    def look_again(self) -> None:
        """What is called before something is written: whether the lock, if any, still holds.

        Raises:
            InputError: If it does not.
        """
        if self._lock:
            with explain_write_errors(self.path):
                self._lock.look_again()

    def save_assignments(self, epoch: int, assignments: np.ndarray) -> None:
        """Writes the clustering made at the beginning of an epoch, in the smallest type."""
        self.look_again()
        self.assignments.mkdir(parents=True, exist_ok=True)
        with write_atomically(self.assignments / f"epoch-{epoch:04d}.npy", "wb") as file:
            np.save(file, assignments.astype(np.min_scalar_type(int(assignments.max()))))

    def log(self, text: str) -> None:
        """Adds what happened to log.txt, with the time; for people alone."""
        self.look_again()
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        append_line(self.log_file, f"{now} {text}")

    def append_metrics(self, record: dict) -> None:
        """Adds one line to metrics.jsonl."""
        self.look_again()
        append_line(self.metrics, json.dumps(record))

    def read_metrics(self) -> list[dict]:
        """The records of metrics.jsonl that can be read, each with its "epoch".

        A last line without its end was cut off in writing; of others that are damaged a warning
        tells the number.
        """
        try:
            *lines, cut = self.metrics.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        records = [_record(line) for line in [*lines, cut]]
        damaged = {
            number
            for number, (line, record) in enumerate(zip(lines, records, strict=False), 1)
            if record is None and line.strip()
        }
        if damaged - self._warned_of:
            logging.warning(
                "Lines of %s are damaged and left out, the others stay: line %s.",
                self.metrics,
                ", ".join(map(str, sorted(damaged))),
            )
            self._warned_of |= damaged
        return [record for record in records if record is not None]

    def forget_after(self, place: Place) -> None:
        """Removes what was recorded after the place from which the run goes on."""
        self.look_again()
        kept = [record for record in self.read_metrics() if record["epoch"] <= place.epoch]
        if self.metrics.exists():
            with write_atomically(self.metrics) as file:
                file.writelines(json.dumps(record) + "\n" for record in kept)
        with explain_write_errors(self.path):
            for path, reached in self._checkpoint_paths():
                if reached > place:
                    remove_directory(path)
            # The epoch that is under way was clustered before its first step.
            known = place.epoch + (place.step > 0)
            for path in self.assignments.glob("epoch-*.npy"):
                if int(path.stem.removeprefix("epoch-")) > known:
                    path.unlink()
            for path in self.tensorboard.glob("events.*"):
                forget_events_after(path, place.epoch)

    def _checkpoint_paths(self) -> list[tuple[pathlib.Path, Place]]:
        """Complete checkpoints and how far they have come, oldest first."""
        if not self.checkpoints.is_dir():
            return []
        found = []
        for path in self.checkpoints.iterdir():
            if (place := _place(path)) and is_checkpoint(path):
                found.append((path, place))
        return sorted(found, key=lambda item: item[1])

    def newest_checkpoints(self) -> list[pathlib.Path]:
        """Complete checkpoints, newest first."""
        return [path for path, _ in reversed(self._checkpoint_paths())]

    def save_checkpoint(self, model: keras.Model, checkpoint: Checkpoint, keep: int) -> None:
        """Writes a checkpoint beside its place, renames it, and drops the oldest ones.

        Args:
            model: The compiled `DeepCluster` model.
            checkpoint: What goes with its weights.
            keep: Number of newest checkpoints to keep.

        Raises:
            CannotWriteError: If the disk is full, or does not let it be written.
        """
        self.look_again()
        epoch, step = checkpoint.place
        name = f"epoch-{epoch + 1:04d}-step-{step:06d}" if step else f"epoch-{epoch:04d}"
        write_checkpoint(self.checkpoints / name, model, checkpoint)
        for path in self.newest_checkpoints()[keep:]:
            remove_directory(path)

    def save_weights(self, network: keras.Model, epoch: int) -> None:
        """Writes a checkpoint of weights alone: to evaluate and export, not to train on.

        Args:
            network: Its weights are written.
            epoch: How many epochs they were trained for.
        """
        write_weights(self.checkpoints / f"epoch-{epoch:04d}", network, epoch)

    def load_weights(self, network: keras.Model) -> pathlib.Path:
        """Loads the newest readable checkpoint's weights into a network.

        Returns:
            The checkpoint's folder.

        Raises:
            InputError: If there is none, or all are damaged.
        """
        candidates = self.newest_checkpoints()
        if self.given.exists():
            raise InputError(
                "The run was not trained: it has clusters of features or of a network that were "
                f"given. Received: --run_dir={self.path}. Expected a run of train.py."
            )
        if not candidates:
            raise InputError(
                f"The run has no checkpoint yet. Received: --run_dir={self.path}. Expected a run "
                "that has finished at least one epoch."
            )
        path, _ = first_readable(candidates, lambda path: load_weights(path, network))
        return path


def first_readable(
    candidates: Sequence[pathlib.Path], load: Callable[[pathlib.Path], Loaded]
) -> tuple[pathlib.Path, Loaded]:
    """Loads the first of some checkpoints that is not damaged; the others are told of.

    Args:
        candidates: Folders of checkpoints, at least one.
        load: Loads one of them.

    Returns:
        Its folder, and what `load` returned.

    Raises:
        InputError: If all of them are damaged.
    """
    reasons = []
    for path in candidates:
        try:
            return path, load(path)
        except DamagedCheckpointError as error:
            logging.warning("The checkpoint %s is damaged (%s).", path, error)
            reasons.append(str(error))
    raise InputError(
        f"No checkpoint of the run can be read. Received: {len(candidates)} damaged ones in "
        f"{candidates[0].parent}; of the first, {reasons[0]}. Bring one back "
        "from a backup, or start a new --run_dir."
    )


def epochs_done(checkpoint: pathlib.Path) -> int:
    """Epochs that a checkpoint's weights were trained for, by its name; parts do not count."""
    place = _place(checkpoint)
    if place is None:
        raise ValueError(f"This is not the name of a checkpoint. Received: {checkpoint.name}.")
    return place.epoch


def newest_place(names: Iterable[str]) -> Place | None:
    """How far the newest of some checkpoints has come, by their folders' names."""
    places = (_place(pathlib.PurePath(name)) for name in names)
    return max((place for place in places if place), default=None)


def _record(line: bytes) -> dict | None:
    """A line of metrics.jsonl, or None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
        return None
    return record


def _place(path: pathlib.PurePath) -> Place | None:
    """How far a checkpoint has come, by its name; None for another name."""
    match = _CHECKPOINT_NAME.match(path.name)
    if match is None:
        return None
    epoch, step = int(match[1]), match[2]
    return Place(epoch) if step is None else Place(epoch - 1, int(step))
