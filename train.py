"""Trains DeepCluster on a folder of images.

    python train.py --flagfile=configs/quickstart.cfg
    python train.py --flagfile=configs/cifar10.cfg --data_dir=IMAGES --run_dir=RUN
    python train.py --flagfile=RUN/flags.cfg                  go on with a run that was stopped
    tensorboard --logdir=RUN/tensorboard                      watch it

Exit codes: 0 on success, 2 on flags, images or disks that the program cannot work with, 143 or 130
when SIGTERM or SIGINT stopped it: the same command goes on from there.
"""

import sys

from absl import app

from dc_keras import config
from dc_keras.errors import InputError
from dc_keras.runtime import prepare_process
from dc_keras.training.interruption import Interrupted, Interruption


def main(settings: config.TrainingConfig) -> None:
    """Runs the training and says what to do with it."""
    try:
        # It takes some seconds to load TensorFlow, in which signals can come as well. It is done
        # here, after the flags were found to be right.
        with Interruption().listening():
            prepare_process()
            from dc_keras.training.train import train

            run = train(settings)
    except InputError as error:
        config.exit_with_input_error(error)
    except Interrupted as interrupted:
        print(f"Stopped by {interrupted}. The same command goes on from here.", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    print(
        f"Done. The network and the cluster of each image are in {run.model}\n"
        f"  python evaluate.py --run_dir={settings.run_dir}\n"
        f"  tensorboard --logdir={settings.run_dir}/tensorboard"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=config.parser(config.TrainingConfig))
