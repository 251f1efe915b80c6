"""Becoming one of several workers, and ceasing to be one."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from dc_keras import assembly
from dc_keras.clustering.spread import ALONE, Workers
from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.machine import MULTI_WORKER
from dc_keras.tf_config import place_in_cluster
from dc_keras.workers.agreement import check_same
from dc_keras.workers.group import WorkerGroup, told_of_others


class WorkerLostError(Exception):
    """Another worker has ended, so that this one cannot go on. All can be started again."""


@dataclasses.dataclass(frozen=True)
class Joined:
    """A process that trains, alone or as one of several.

    Attributes:
        config: The settings; of workers but the first with a run directory that is thrown away.
        workers: Who work together.
        strategy: Of several workers, what trains; None of one.
    """

    config: TrainingConfig
    workers: Workers
    strategy: tf.distribute.Strategy | None = None


@contextlib.contextmanager
def joined(config: TrainingConfig) -> Iterator[Joined]:
    """Joins the other workers where the settings ask for some; must precede any operation.

    The first worker alone has the run's folder. Others write theirs into a temporary one: they do
    what the first does, so that all come to every exchange at the same time.

    Args:
        config: The settings.

    Raises:
        InputError: If the environment does not tell the workers, or their settings differ.
        WorkerLostError: If another worker ended before this one.
    """
    if config.strategy != MULTI_WORKER:
        yield Joined(config, ALONE)
        return
    place = place_in_cluster(os.environ)
    if config.to_choose:
        raise InputError(
            "Flags are chosen for one machine. Received: --choose with --strategy=multi_worker. "
            "Choose them on one of them: end the run after its first lines, and start it on all "
            "with --flagfile=RUN/flags.cfg --strategy=multi_worker."
        )
    others = ", ".join(address for i, address in enumerate(place.addresses) if i != place.rank)
    waiting = f" with {others}" if others else ""
    begins = f"Worker {place.rank + 1} of {place.count}: begins as soon as all are there{waiting}"
    print(begins, flush=True)
    strategy = assembly.prepare_devices(config)
    workers = WorkerGroup(strategy, place.rank, place.count)
    try:
        # All but what a worker may have of its own.
        common = dataclasses.replace(
            config, run_dir="/", data_dir="/", backup_dir="", gallery=False
        )
        check_same(
            "settings",
            common.to_flagfile().splitlines(),
            workers,
            "Start all of them with the same flags.",
        )
        if place.rank == 0:
            yield Joined(config, workers, strategy)
        else:
            print(
                f"What the run does is told by the first worker, {place.addresses[0]}", flush=True
            )
            with (
                tempfile.TemporaryDirectory(prefix="dc-keras-worker-") as folder,
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere),
            ):
                run_dir = os.path.join(folder, "run")
                own = dataclasses.replace(config, run_dir=run_dir, backup_dir="")
                yield Joined(own, workers, strategy)
        # All are done before one leaves: others would take it for lost.
        workers.barrier()
    except tf.errors.OpError as error:
        if not (told := told_of_others(error)):
            raise
        raise WorkerLostError(
            "Another worker of the run has ended, so that this one cannot go on. Received: "
            f"{told}\nWhat the others printed tells why. What was "
            "saved is kept: the same command on all workers goes on from there."
        ) from error
