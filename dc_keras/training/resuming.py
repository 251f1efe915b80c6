"""Going on with a run: which checkpoint it starts from, and when the next ones are written."""

import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.runs.checkpoints import (
    Checkpoint,
    Place,
    epoch_state,
    load_checkpoint,
    restore_epoch_state,
    verify,
)
from dc_keras.runs.run_directory import RunDirectory, first_readable
from dc_keras.training.collapse import check_loss, check_weights
from dc_keras.training.interruption import Interruption
from dc_keras.training.turn import Turn
from dc_keras.workers.run_files import bring_run


def checkpoints_to_try(run: RunDirectory, resume: str) -> Sequence[pathlib.Path]:
    """The checkpoints that a run can go on from, the first one first.

    Args:
        run: The run.
        resume: As for `load_latest`.
    """
    candidates = run.newest_checkpoints()
    if resume not in ("auto", "never") and (run.holds(resume) or not candidates):
        return [pathlib.Path(resume)]
    return candidates


def with_files_of_run(
    config: TrainingConfig, run: RunDirectory, workers: Workers
) -> TrainingConfig:
    """Brings what a run goes on from to all workers; the settings tell where it is on this one."""
    if workers is ALONE:
        return config
    checkpoint = None
    if workers.rank == 0 and (candidates := checkpoints_to_try(run, config.resume)):
        checkpoint, _ = first_readable(candidates, verify)
    brought = bring_run(run, checkpoint, workers)
    if workers.rank == 0:
        return config
    return dataclasses.replace(config, resume=str(brought) if brought else "auto")


def load_latest(
    run: RunDirectory, model: DeepCluster, resume: str, num_images: int
) -> Checkpoint | None:
    """Loads the checkpoint to go on from into the model, and forgets what came after it.

    Args:
        run: The run that goes on.
        model: The compiled trainer.
        resume: "auto", "never", or the folder of a checkpoint. One of another run counts as long
            as this run has none of its own: it has gone on from there since.
        num_images: Images of the run.

    Returns:
        The checkpoint, or None where there is none to go on from.

    Raises:
        InputError: If the checkpoint asked for is none, or does not fit.
    """
    candidates = checkpoints_to_try(run, resume)
    if not candidates:
        run.forget_after(Place(0))
        return None
    path, checkpoint = first_readable(candidates, lambda path: load_checkpoint(path, model))
    if len(checkpoint.clusters.assignments) != num_images:
        raise InputError(
            f"The checkpoint belongs to other images. Received: {path} with "
            f"{len(checkpoint.clusters.assignments)} images. Expected {num_images}."
        )
    run.forget_after(checkpoint.place)
    print(f"Going on after {checkpoint.place} from {path}")
    return checkpoint


def restored_turn(checkpoint: Checkpoint) -> Turn:
    """What the latest epoch of a checkpoint began with: one that is under way, or done."""
    epoch, step = checkpoint.place
    return Turn(
        epoch=epoch if step else epoch - 1,
        clusters=checkpoint.clusters,
        numbers=checkpoint.numbers,
        whitening=checkpoint.whitening,
        figures=checkpoint.figures,
        seconds=checkpoint.seconds,
        clustered=checkpoint.clustered,
    )


class RestoreEpochState(keras.callbacks.Callback):
    """Gives an epoch that is taken up the running means and the place in dropout's draws it had.

    Keras starts them anew with every epoch.
    """

    def __init__(self):
        super().__init__()
        self._state: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs=None):
        self._state = epoch_state(self.model)

    def begin_turn(self, turn: Turn) -> None:
        """Restores the state of an epoch that is taken up."""
        if turn.taken_up:
            restore_epoch_state(self.model, self._state)


@dataclasses.dataclass(frozen=True)
class Cadence:
    """When checkpoints are written beside the end of each epoch, and how many stay.

    Attributes:
        keep: Number of newest checkpoints to keep.
        every_steps: Save after every so many steps of an epoch; 0 does not.
        every_seconds: Save when so much time has passed since the last time; 0 does not.
    """

    keep: int
    every_steps: int = 0
    every_seconds: float = 0.0


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes checkpoints, and stops the run when a signal asks for it.

    Args:
        run: Where to write.
        interruption: What signals ask for.
        cadence: When to write.
        place: How far the training has come before this fit.
        workers: Who train together: what one of them is asked for, all do.
        on_saved: Called after each checkpoint.

    Attributes:
        place: How far it has come.
    """

    def __init__(
        self,
        run: RunDirectory,
        interruption: Interruption,
        cadence: Cadence,
        place: Place,
        workers: Workers = ALONE,
        on_saved: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self._run = run
        self._interruption = interruption
        self._cadence = cadence
        self._workers = workers
        self._on_saved = on_saved
        self.place = place
        self._turn: Turn
        self._first_step = 0
        self._saved_at = time.monotonic()

    def begin_turn(self, turn: Turn) -> None:
        """Takes what the epoch begins with; from here on signals wait for the end of a step."""
        self._turn = turn
        self._interruption.postpone()

    def on_train_begin(self, logs=None):
        self._first_step = self.place.step

    def on_train_batch_end(self, batch, logs=None):
        step = self._first_step + batch + 1
        self.place = Place(self.place.epoch, step)
        check_loss(logs["loss"], self._described_place())
        if step == self._first_step + self.params["steps"]:
            return  # the end of the epoch is saved behind its figures
        cadence = self._cadence
        late = 0 < cadence.every_seconds <= time.monotonic() - self._saved_at
        due = cadence.every_steps > 0 and step % cadence.every_steps == 0
        if self._agree_to_save(late or due):
            self._save()
        self._interruption.raise_if_requested()

    def on_epoch_end(self, epoch, logs=None):
        self._first_step = 0
        self.place = Place(epoch + 1)
        self._agree_to_save(True)
        self._save()
        self._interruption.stop_at_once()

    def _agree_to_save(self, is_due: bool) -> bool:
        """Whether this is saved: where one of the workers is due or asked to, all are."""
        asked = self._interruption
        signals = (signal.SIGTERM, signal.SIGINT)
        wanted = [is_due or asked.save_requested, *(asked.requested == one for one in signals)]
        agreed = self._workers.total(np.array(wanted, np.int32)) > 0
        for one in np.array(signals)[agreed[1:]].tolist():
            asked.requested = asked.requested or one
        return bool(agreed.any())

    def _described_place(self) -> str:
        return str(self.place) if self.place.step else f"the end of {self.place}"

    def _save(self) -> None:
        # Before the state is taken: a request that comes meanwhile is for the next step.
        self._interruption.save_requested = False
        check_weights(self.model, self._described_place())
        turn = self._turn
        checkpoint = Checkpoint(
            place=self.place,
            clusters=turn.clusters,
            numbers=turn.numbers,
            whitening=turn.whitening,
            clustered=turn.clustered,
            figures=dict(turn.figures),
            seconds=dict(turn.seconds),
        )
        self._run.save_checkpoint(self.model, checkpoint, self._cadence.keep)
        self._on_saved()
        self._saved_at = time.monotonic()
