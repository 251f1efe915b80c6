"""One process a run directory."""

import errno
import fcntl
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


def in_another_process(code, folder):
    """Runs code in which `place` is the lock file of a folder; returns what it prints."""
    head = (
        "import pathlib\n"
        "from dc_keras.errors import InputError\n"
        "from dc_keras.runs.lock import lock\n"
        f"place = pathlib.Path({str(folder / '.lock')!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


TRIES = """
try:
    with lock(place): print("held")
except InputError as error:
    print(error)
"""


def test_a_lock_whose_file_was_removed_still_keeps_others_out(tmp_path):
    (tmp_path / "work").touch()
    with lock(tmp_path / ".lock") as held:
        (tmp_path / ".lock").unlink()
        said, _ = in_another_process(TRIES, tmp_path).communicate(timeout=60)
        assert "Another process trains" in said
        held.look_again()
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        said, _ = in_another_process(TRIES, tmp_path).communicate(timeout=60)
        assert f'"pid": {os.getpid()}' in said


def test_who_lost_the_lock_learns_it(tmp_path, monkeypatch):
    """As on NFS, where no folder is locked, and another has come in since the file was removed."""
    flock = fcntl.flock

    def of_files(opened, operation):
        if isinstance(opened, int):
            raise OSError(errno.EBADF, "as on NFS")
        flock(opened, operation)

    monkeypatch.setattr("fcntl.flock", of_files)
    with lock(tmp_path / ".lock") as held:
        (tmp_path / ".lock").unlink()
        code = (
            "import fcntl\nfile = open(place, 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
            "print('has it', flush=True)\ninput()\n"
        )
        other = in_another_process(code, tmp_path)
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(InputError, match="Another process trains"):
            held.look_again()
        other.communicate("\n", timeout=60)


def test_a_lock_is_not_lost_to_inode_numbers_that_change(tmp_path):
    """A copy that says the same is what some network drives show of the file itself."""
    with lock(tmp_path / ".lock") as held:
        text = (tmp_path / ".lock").read_text()
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text(text)
        inode = (tmp_path / ".lock").stat().st_ino
        held.look_again()
        assert (tmp_path / ".lock").stat().st_ino == inode


def test_one_process_a_run_directory(tmp_path):
    config = tiny("any", tmp_path / "run", "--mode=improved")
    with (
        RunDirectory(config.run_dir).locked(),
        pytest.raises(InputError, match=f'Another process trains .*"pid": {os.getpid()}'),
    ):
        train(config)
    assert not (tmp_path / "run").exists()
