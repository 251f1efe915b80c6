"""What a process does about signals; tests/faults stops whole runs."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.training.interruption import Interrupted, Interruption
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import train

REPOSITORY = pathlib.Path(__file__).parent.parent.parent


def test_sigusr1_saves_and_a_second_signal_ends_at_once():
    """In this process, with the second signal's os._exit in a child."""
    interruption = Interruption()
    with interruption.listening():
        interruption.postpone()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interruption.save_requested and interruption.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested == signal.SIGTERM
        with pytest.raises(Interrupted) as error:
            interruption.stop_at_once()
        assert error.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    code = (
        "import os, signal\n"
        "from dc_keras.training.interruption import Interruption\n"
        "interruption = Interruption()\n"
        "with interruption.listening():\n"
        "    interruption.postpone()\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 130


def test_outside_of_training_steps_a_signal_stops_at_once():
    interruption = Interruption()
    with interruption.listening(), pytest.raises(Interrupted, match="SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)


def test_one_process_a_run_directory(tmp_path):
    config = TrainingConfig.from_arguments(
        ["--mode=improved", "--data_dir=any", f"--run_dir={tmp_path / 'run'}"]
    )
    with (
        RunDirectory(config.run_dir).locked(),
        pytest.raises(InputError, match=f'Another process trains .*"pid": {os.getpid()}'),
    ):
        train(config)
    assert not (tmp_path / "run").exists()
