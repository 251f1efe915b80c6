"""Trains DeepCluster on a folder of images.

    python train.py --preset=auto --hours=1 --data_dir=IMAGES --run_dir=RUN
    python train.py --flagfile=configs/quickstart.cfg
    python train.py --flagfile=configs/cifar10.cfg --data_dir=IMAGES --run_dir=RUN
    python train.py --flagfile=RUN/flags.cfg                  go on with a run that was stopped
    tensorboard --logdir=RUN/tensorboard                      watch it

Where it is installed, `dc-keras train --preset=cifar10` stands for the flagfile of that name.

Exit codes: 0 on success, 2 on flags, images or disks that the program cannot work with, 143 or 130
when SIGTERM or SIGINT stopped it, 138 when another worker of several machines has ended: the same
command goes on from there.
"""

import os
import pathlib
import sys

from dc_keras.config import TrainingConfig as Settings
from dc_keras.process import prepare_process, printable
from dc_keras.programs.run import command
from dc_keras.training.interruption import Interrupted, Interruption

# Schedulers take codes above 128 for what can be tried again.
WORKER_LOST = 138


def main(settings: Settings) -> None:
    """Runs the training and says what to do with it."""
    try:
        # It takes some seconds to load TensorFlow, in which signals can come as well. It is done
        # here, after the flags were found to be right.
        with Interruption().listening():
            prepare_process()
            if settings.dry_run:
                from dc_keras.training.dry_run import dry_run

                print(dry_run(settings))
                return
            from dc_keras.training.loop import train
            from dc_keras.workers.joining import WorkerLostError

            try:
                run = train(settings)
            except WorkerLostError as lost:
                print(f"train.py: {lost}", file=sys.stderr)
                sys.exit(WORKER_LOST)
    except Interrupted as interrupted:
        print(f"Stopped by {interrupted}. The same command goes on from here.", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    if run.path != pathlib.Path(os.path.abspath(settings.run_dir)):
        print(f"Done. What came of it is in the first worker's {settings.run_dir}")
        return
    told = (
        f"Done. The network and the cluster of each image are in {run.model}\n"
        f"  {command('evaluate')} --run_dir={settings.run_dir}\n"
        f"  {_gallery(settings)}\n"
        f"  tensorboard --logdir={settings.run_dir}/tensorboard"
    )
    print(printable(told))


def _gallery(settings: Settings) -> str:
    """Makes the gallery if it is asked for, and tells of it."""
    how = f"{command('gallery')} --run_dir={settings.run_dir}"
    if not settings.gallery:
        return how
    from dc_keras.programs.gallery import make_gallery

    # The training is done and kept: nothing that happens here may look as if it was not.
    try:
        return make_gallery(settings.run_dir).partition("\n")[0]
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"There is no gallery yet ({reason}): {how}"
