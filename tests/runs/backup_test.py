"""Copies of a run elsewhere, and runs that come back from them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import logging

from dc_keras.errors import CannotWriteError, InputError
from dc_keras.runs.backup import Backup, backed_up
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.loop import train
from repository import REPOSITORY
from results import assert_same_assignments, assignments
from tiny import FLAGS, tiny

CHECKPOINT = ("weights.npz", "state.json", "SHA256SUMS")


@pytest.fixture
def run(tmp_path):
    """A run of two files and one checkpoint."""
    run = RunDirectory(tmp_path / "run")
    fill(run, epoch=1)
    return run


def fill(run, epoch):
    """Writes what a run has after an epoch; the checkpoint before it goes."""
    run.path.mkdir(exist_ok=True)
    run.flags.write_text("--epochs=9\n")
    run.log_file.write_text(f"epoch {epoch}\n")
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    folder = run.checkpoints / f"epoch-{epoch:04d}"
    folder.mkdir(parents=True)
    for name in CHECKPOINT:
        (folder / name).write_text(f"{name} of epoch {epoch}")


def contents(folder):
    """Files below a folder with what they hold, but what says whose copy it is."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and path.name not in ("backup.json", ".lock")
    }


@pytest.fixture(params=["file", "ram", "folder"])
def place(request, tmp_path):
    """Where a copy can be, by three file systems of TensorFlow."""
    yield {
        "file": f"file://{tmp_path}/copy",
        "ram": "ram://backups/copy",
        "folder": f"{tmp_path}/copy/",
    }[request.param]
    if request.param == "ram" and tf.io.gfile.exists("ram://backups"):
        tf.io.gfile.rmtree("ram://backups")


def test_a_run_comes_back_as_it_was_copied(run, place, tmp_path):
    with backed_up(place, run):
        pass
    before = contents(run.path)
    assert len(before) == 5
    shutil.rmtree(run.path)
    with backed_up(place, run):
        assert contents(run.path) == before


def test_what_the_run_removes_is_removed_there_and_what_others_put_there_stays(run, tmp_path):
    copy = tmp_path / "copy"
    with backed_up(str(copy), run) as back_up:
        back_up()
        (copy / "notes.txt").write_text("mine")
        fill(run, epoch=2)
    assert contents(copy) == {**contents(run.path), "notes.txt": b"mine"}


def test_only_what_has_changed_is_copied_again(run, tmp_path):
    copy = tmp_path / "copy"
    with backed_up(str(copy), run) as back_up:
        back_up()
        for path in (copy / "log.txt", copy / "flags.cfg"):
            path.write_text("as it was copied")
        run.log_file.write_text("more than before\n")
    assert (copy / "log.txt").read_text() == "more than before\n"
    assert (copy / "flags.cfg").read_text() == "as it was copied"


def test_a_checkpoint_is_one_when_all_of_it_is_there(run, tmp_path, monkeypatch):
    order = []
    original = tf.io.gfile.copy

    def copy(source, target, overwrite=False):
        order.append(target.removeprefix(f"{tmp_path}/copy/"))
        original(source, target, overwrite)

    monkeypatch.setattr(tf.io.gfile, "copy", copy)
    with backed_up(f"{tmp_path}/copy", run):
        pass
    checkpoint = [f"checkpoints/epoch-0001/{name}" for name in CHECKPOINT]
    assert order[:3] == sorted(checkpoint[:2]) + checkpoint[2:]
    assert sorted(order[3:]) == ["flags.cfg", "log.txt"]


def test_another_run_is_not_replaced(run, tmp_path):
    with backed_up(f"{tmp_path}/copy", run):
        pass
    other = RunDirectory(tmp_path / "other")
    fill(other, epoch=1)
    with (
        pytest.raises(InputError, match="the copy of another run"),
        backed_up(f"{tmp_path}/copy", other),
    ):
        pytest.fail("it was taken")


def test_a_folder_of_something_else_is_not_touched(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").touch()
    with (
        pytest.raises(InputError, match=r"holds something else.*with a.jpg"),
        backed_up(str(folder), run),
    ):
        pytest.fail("it was taken")
    assert os.listdir(folder) == ["a.jpg"]


def test_a_run_is_not_brought_into_a_folder_of_something_else(run, tmp_path):
    with backed_up(f"{tmp_path}/copy", run):
        pass
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").touch()
    with (
        pytest.raises(InputError, match=r"run_dir=.*photos with a.jpg"),
        backed_up(f"{tmp_path}/copy", RunDirectory(photos)),
    ):
        pytest.fail("it was taken")
    assert os.listdir(photos) == ["a.jpg"]


def test_no_name_leads_out_of_the_runs_folder(run, tmp_path, monkeypatch):
    with backed_up("ram://backups/leads", run):
        pass
    shutil.rmtree(run.path)
    tf.io.gfile.copy(__file__, "ram://backups/evil")
    original = tf.io.gfile.walk

    def walk(url):
        # As an object store lists an object whose name has such parts.
        return [*original(url), (f"{url}/..", [], ["evil"])]

    monkeypatch.setattr(tf.io.gfile, "walk", walk)
    with backed_up("ram://backups/leads", run):
        assert not (tmp_path / "evil").exists() and run.exists()


def test_a_file_is_no_place(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), backed_up(f"{tmp_path}/file", run):
        pytest.fail("it was taken")


def test_a_copy_that_has_come_further_is_not_replaced(run, tmp_path):
    with backed_up(f"{tmp_path}/copy", run) as back_up:
        back_up()
        earlier = shutil.copytree(run.path, tmp_path / "earlier")
        fill(run, epoch=2)
    with (
        pytest.raises(InputError, match=r"after epoch 2, with .* after epoch 1\."),
        backed_up(f"{tmp_path}/copy", RunDirectory(earlier)),
    ):
        pytest.fail("it was taken")


def test_who_began_last_goes_on_and_the_other_ends(run, tmp_path):
    url = f"{tmp_path}/copy"
    with pytest.raises(InputError, match="was taken over"), backed_up(url, run) as first:
        first()
        elsewhere = RunDirectory(tmp_path / "elsewhere")
        with backed_up(url, elsewhere) as second:
            second()
            fill(run, epoch=2)
            with pytest.raises(InputError, match="was taken over"):
                first()
            fill(elsewhere, epoch=3)
    assert "checkpoints/epoch-0003/SHA256SUMS" in contents(tmp_path / "copy")


def test_a_copy_that_fails_is_made_up_for(run, tmp_path, monkeypatch, caplog):
    logging.use_absl_handler()
    original = tf.io.gfile.copy

    def unreachable(source, target, overwrite=False):
        raise tf.errors.UnavailableError(None, None, "no way there")

    with backed_up(f"{tmp_path}/copy", run) as back_up:
        monkeypatch.setattr(tf.io.gfile, "copy", unreachable)
        back_up()
        assert "no way there" in caplog.text
        monkeypatch.setattr(tf.io.gfile, "copy", original)
    assert contents(tmp_path / "copy") == contents(run.path)


def test_a_copy_that_fails_at_the_end_is_an_error(run, tmp_path, monkeypatch):
    def unreachable(source, target, overwrite=False):
        raise tf.errors.UnavailableError(None, None, "no way there")

    monkeypatch.setattr(tf.io.gfile, "copy", unreachable)
    with (
        pytest.raises(CannotWriteError, match="no way there.*the same command"),
        backed_up(f"{tmp_path}/copy", run),
    ):
        pass


def test_a_damaged_owner_is_told(run, tmp_path):
    with backed_up(f"{tmp_path}/copy", run):
        pass
    (tmp_path / "copy" / "backup.json").write_text('{"run": ')
    with pytest.raises(InputError, match="is damaged"):
        Backup(f"{tmp_path}/copy", run).begin()


def test_nothing_is_done_without_a_place(run):
    before = contents(run.path)
    with backed_up("", run) as back_up:
        back_up()
    assert contents(run.path) == before and not (run.path / "backup.json").exists()


@pytest.mark.parametrize("inside", ["run", "run/copy", "."])
def test_a_copy_lies_elsewhere(tmp_path, npz, inside):
    with pytest.raises(InputError, match="cannot lie in its folder"):
        tiny(npz, tmp_path / "run", f"--backup_dir={tmp_path}/{inside}")


def test_a_run_goes_on_on_a_machine_that_has_only_the_copy(tmp_path, npz):
    """Another process, without the first one's folder: the end is that of a run that was whole."""
    whole = train(tiny(npz, tmp_path / "whole", "--epochs=3"))
    backup = f"--backup_dir=file://{tmp_path}/copy"
    first = [*FLAGS, f"--data_dir={npz}", f"--run_dir={tmp_path}/first", backup, "--epochs=1"]
    subprocess.run([sys.executable, "train.py", *first], cwd=REPOSITORY, check=True)
    kept = json.loads((tmp_path / "copy" / "backup.json").read_text())["run"]
    shutil.rmtree(tmp_path / "first")
    second = train(tiny(npz, tmp_path / "second", backup, "--epochs=3"))
    assert_same_assignments(assignments(whole), assignments(second))
    assert [one["epoch"] for one in second.read_metrics()] == [1, 2, 3]
    assert contents(tmp_path / "copy") == contents(second.path)
    assert json.loads((tmp_path / "copy" / "backup.json").read_text())["run"] == kept
    assert RunDirectory(tmp_path / "copy").config().epochs == 3
