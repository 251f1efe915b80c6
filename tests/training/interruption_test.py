"""Runs that are stopped from outside, in processes of their own, and go on."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import textures
from dc_keras.config import TrainingConfig
from dc_keras.errors import InputError
from dc_keras.training.interruption import Interrupted, Interruption
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import train

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
FLAGS = (
    "--image_size=32 --width=0.0625 --num_clusters=6 --pca_dim=16 --epochs=2 --batch_size=4 "
    "--crop_min_area=0.5 --mode=improved --deterministic --checkpoint_every_steps=7"
).split()
STEPS = 100


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "textures.npz"
    images, labels = textures.textures(STEPS)
    np.savez(path, images=images, labels=labels)
    return path


def start(npz, run_dir):
    return subprocess.Popen(
        [sys.executable, "train.py", *FLAGS, f"--data_dir={npz}", f"--run_dir={run_dir}"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process, run_dir, pattern):
    """Waits until a checkpoint of such a name is there."""
    deadline = time.monotonic() + 240
    while not list(pathlib.Path(run_dir).glob(f"checkpoints/{pattern}")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return out


def result(run_dir):
    """All that a run computed, without times."""
    run = RunDirectory(run_dir)
    found = {path.name: np.load(path) for path in run.assignments.iterdir()}
    for path in run.newest_checkpoints()[0].glob("*.npz"):
        with np.load(path) as arrays:
            found |= {f"{path.name}/{name}": arrays[name] for name in arrays}
    for record in run.read_metrics():
        kept = {n: v for n, v in record.items() if n not in ("seconds", "images_per_second")}
        found[f"epoch {record['epoch']}"] = np.array(json.dumps(kept, sort_keys=True))
    found["clusters.csv"] = np.array((run.model / "clusters.csv").read_text())
    return found


@pytest.fixture(scope="module")
def whole(npz, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    finished(start(npz, run_dir))
    return result(run_dir)


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
    process = start(npz, tmp_path / "run")
    wait_for(process, tmp_path / "run", pattern)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=60)
    if signal_number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + signal_number
        assert f"Stopped by {signal_number.name}" in err and "Traceback" not in err
    out = finished(start(npz, tmp_path / "run"))
    assert "Going on after " in out and ("step" in pattern) == ("Going on after step" in out)
    again = result(tmp_path / "run")
    assert again.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


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
