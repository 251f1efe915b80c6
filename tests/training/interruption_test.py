"""Runs that are stopped from outside, in processes of their own, and go on."""

import os
import signal
import subprocess
import sys

import pytest

from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.training.interruption import Interrupted, Interruption
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import train
from faults import runs


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    return runs.write_images(tmp_path_factory.mktemp("data") / "textures.npz")


@pytest.fixture(scope="module")
def whole(npz, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    runs.ended(runs.start(npz, run_dir), 0)
    return runs.result(run_dir)


@pytest.mark.parametrize(
    ("signal_number", "pattern"),
    [
        (signal.SIGTERM, "epoch-0002-step-*"),
        pytest.param(signal.SIGINT, "epoch-0001-step-000021", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "epoch-0002-step-*", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "epoch-0001-step-000070", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "epoch-0001", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    npz, whole, tmp_path, signal_number, pattern
):
    process = runs.start(npz, tmp_path / "run")
    runs.wait_for(process, tmp_path / "run" / "checkpoints", pattern)
    process.send_signal(signal_number)
    if signal_number == signal.SIGKILL:
        process.communicate()
    else:
        assert f"Stopped by {signal_number.name}" in runs.ended(process, 128 + signal_number)
    out = runs.assert_goes_on(npz, tmp_path / "run", whole)
    assert "Going on after " in out and ("step" in pattern) == ("Going on after step" in out)


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
    assert subprocess.run([sys.executable, "-c", code], cwd=runs.REPOSITORY).returncode == 130


def test_outside_of_training_steps_a_signal_stops_at_once():
    interruption = Interruption()
    with interruption.listening(), pytest.raises(Interrupted, match="SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)


def test_one_process_a_run_directory(npz, tmp_path):
    config = TrainingConfig.from_arguments(
        ["--mode=improved", f"--data_dir={npz}", f"--run_dir={tmp_path / 'run'}"]
    )
    with (
        RunDirectory(config.run_dir).locked(),
        pytest.raises(InputError, match=f'Another process trains .*"pid": {os.getpid()}'),
    ):
        train(config)
    assert not (tmp_path / "run").exists()
