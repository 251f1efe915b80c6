"""One process a run directory."""

import json
import os
import subprocess
import sys

import pytest

from dc_keras.errors import InputError
from dc_keras.runs.lock import lock
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.loop import train
from repository import REPOSITORY
from tiny import tiny


def test_a_lock_says_who_holds_it(tmp_path):
    with lock(tmp_path / ".lock"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_lock_is_held_once_and_free_again_behind_its_block(tmp_path):
    (tmp_path / "work").touch()
    with (
        lock(tmp_path / ".lock"),
        pytest.raises(InputError, match=f'--run_dir={tmp_path}, .*"pid": {os.getpid()}'),
        lock(tmp_path / ".lock"),
    ):
        pytest.fail("a second one has it")
    with lock(tmp_path / ".lock"):
        pass
    assert (tmp_path / "work").exists()


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from dc_keras.runs.lock import lock\n"
        "with lock(pathlib.Path(sys.argv[1])): os._exit(9)\n"
    )
    place = tmp_path / ".lock"
    done = subprocess.run([sys.executable, "-c", code, str(place)], cwd=REPOSITORY)
    assert done.returncode == 9 and place.exists()
    with lock(place):
        assert json.loads(place.read_text())["pid"] == os.getpid()


def test_a_folder_that_holds_nothing_else_is_removed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with lock(folder / ".lock"):
        pass
    assert not folder.exists()


def test_one_process_a_run_directory(tmp_path):
    config = tiny("any", tmp_path / "run", "--mode=improved")
    with (
        RunDirectory(config.run_dir).locked(),
        pytest.raises(InputError, match=f'Another process trains .*"pid": {os.getpid()}'),
    ):
        train(config)
    assert not (tmp_path / "run").exists()
