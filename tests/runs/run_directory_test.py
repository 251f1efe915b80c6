"""The run directory: what may be written where, what stays, and what a run goes on from."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.config import TrainingConfig
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.runs.checkpoints import Checkpoint, Place, load_checkpoint
from dc_keras.runs.checksums import write_sums
from dc_keras.runs.run_directory import RunDirectory, epochs_done
from events import told_losses, write_losses
from old_runs import REMOVED_FLAGS
from tiny import tiny
from trainers import tiny_trainer
from turns import whitening

CHECKPOINT = Checkpoint(
    place=Place(3),
    clusters=Clusters(np.arange(20, dtype="int32") % 6, np.zeros((6, 2), "float32")),
    numbers=np.arange(6, dtype="int32"),
    whitening=whitening(),
)


@pytest.fixture(scope="module")
def model():
    return tiny_trainer()


def at(epoch, step=0):
    """The checkpoint at another place."""
    return dataclasses.replace(CHECKPOINT, place=Place(epoch, step))


def test_a_new_folder_is_fine_and_stays_untouched(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.check(tiny("data", run.path))
    assert not run.path.exists() and not run.exists()


def test_another_configuration_is_refused_with_the_flags_that_differ(tmp_path):
    run = RunDirectory(tmp_path)
    tiny("data", tmp_path).save(run.flags)
    before = run.flags.read_text()
    run.check(tiny("data", tmp_path, "--epochs=600", "--keep_checkpoints=1"))
    with pytest.raises(InputError) as error:
        run.check(tiny("data", tmp_path, "--seed=5", "--learning_rate=0.1"))
    assert "--seed: 31 in the run, 5 now" in str(error.value)
    assert "--learning_rate: 0.05 in the run, 0.1 now" in str(error.value)
    assert run.flags.read_text() == before


def test_a_run_of_an_older_version_goes_on(tmp_path):
    """Its flagfile names flags that were taken out, with values that had no effect."""
    run, config = RunDirectory(tmp_path), tiny("data", tmp_path)
    config.save(run.flags)
    with open(run.flags, "a") as file:
        file.write(REMOVED_FLAGS)
    assert run.config() == config
    run.check(config)


def test_a_run_from_before_a_flag_does_what_it_did(tmp_path):
    """Whose flagfile does not say how it cuts: it left small images whole in all modes."""
    run = RunDirectory(tmp_path)
    tiny("data", tmp_path, "--mode=paper").save(run.flags)
    lines = run.flags.read_text().splitlines()
    (tmp_path / "manifest.csv").touch()
    run.flags.write_text("\n".join(line for line in lines[1:] if "--fit" not in line) + "\n")
    assert run.config().fit == "crop_large"
    assert TrainingConfig.from_arguments([f"--flagfile={run.flags}"]).fit == "crop_large"
    assert TrainingConfig(data_dir="data", run_dir="run").fit == "crop"


def test_a_run_of_an_older_version_is_refused_where_a_removed_flag_had_an_effect(tmp_path):
    run, config = RunDirectory(tmp_path), tiny("data", tmp_path)
    config.save(run.flags)
    with open(run.flags, "a") as file:
        file.write(REMOVED_FLAGS + "--projection=64\n")
    message = f"cannot be read by this version. Received: {run.flags} .*--projection was taken out"
    for use in (run.config, lambda: run.check(config)):
        with pytest.raises(InputError, match=message):
            use()


def test_resume_never_refuses_a_run(tmp_path):
    run = RunDirectory(tmp_path)
    tiny("data", tmp_path).save(run.flags)
    with pytest.raises(InputError, match="already holds a run.*--resume=never"):
        run.check(tiny("data", tmp_path, "--resume=never"))


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        RunDirectory(tmp_path / "file").check(tiny("data", tmp_path / "file"))


def test_no_run_here(tmp_path):
    with pytest.raises(InputError, match="There is no run in this folder"):
        RunDirectory(tmp_path).config()


@pytest.mark.parametrize(
    ("largest", "dtype"), [(3, "uint8"), (255, "uint8"), (256, "uint16"), (70_000, "uint32")]
)
def test_assignments_are_compact(tmp_path, largest, dtype):
    run = RunDirectory(tmp_path)
    run.save_assignments(7, np.array([0, largest], "int32"))
    saved = np.load(tmp_path / "assignments" / "epoch-0007.npy")
    assert saved.dtype == dtype and saved.tolist() == [0, largest]


def test_metrics_survive_a_line_that_was_cut_off(tmp_path):
    run = RunDirectory(tmp_path)
    run.append_metrics({"epoch": 1, "loss": 2.5})
    run.append_metrics({"epoch": 2, "loss": 2.0})
    with open(run.metrics, "a") as file:
        file.write('{"epoch": 3, "lo')
    assert [record["epoch"] for record in run.read_metrics()] == [1, 2]
    run.forget_after(Place(1))
    assert run.metrics.read_text() == json.dumps({"epoch": 1, "loss": 2.5}) + "\n"


DAMAGED = [
    b'{"epoch": 2, "lo\x00',
    b'{"epoch": 2, "loss": "\xff\xfe"}',
    b"[2]",
    b'{"loss": 2.0}',
    b'{"epoch": "two"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", DAMAGED)
def test_metrics_behind_a_damaged_line_stay(tmp_path, warnings_told, line):
    run = RunDirectory(tmp_path)
    good = [json.dumps({"epoch": epoch, "loss": 0.5}).encode() for epoch in (1, 3, 4)]
    run.metrics.write_bytes(b"\n".join([good[0], line, *good[1:], b""]))
    assert [record["epoch"] for record in run.read_metrics()] == [1, 3, 4]
    run.forget_after(Place(3))
    assert run.metrics.read_bytes() == good[0] + b"\n" + good[1] + b"\n"
    (message,) = warnings_told("are damaged")
    assert f"Lines of {run.metrics} are damaged" in message and message.endswith("line 2.")


def test_settings_that_are_empty_are_damaged(tmp_path):
    run = RunDirectory(tmp_path)
    run.flags.touch()
    for use in (run.config, lambda: run.check(tiny("data", tmp_path))):
        with pytest.raises(InputError, match="are cut off. Received: .*flags.cfg with 0 whole"):
            use()


WRITING = {
    "metrics": lambda run, model: run.append_metrics({"epoch": 1}),
    "assignments": lambda run, model: run.save_assignments(1, np.zeros(2, "int32")),
    "checkpoint": lambda run, model: run.save_checkpoint(model, CHECKPOINT, keep=1),
    "forgetting": lambda run, model: run.forget_after(Place(1)),
}


@pytest.mark.parametrize("write", WRITING.values(), ids=WRITING)
def test_nothing_is_written_where_the_run_was_moved_away(tmp_path, model, write):
    run = RunDirectory(tmp_path / "run")
    with run.locked():
        (tmp_path / "run" / "flags.cfg").touch()
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(InputError, match="no longer there.*--flagfile=THAT_PLACE/flags.cfg"):
            write(run, model)
    assert not run.path.exists()
    assert {path.name for path in (tmp_path / "moved").iterdir()} == {"flags.cfg", ".lock"}


def test_tensorboard_forgets_what_is_done_again(tmp_path):
    """An early process, one that wrote of epochs 3 and 4 and was cut off, one of epoch 4 alone."""
    run = RunDirectory(tmp_path)
    first, second, third = (
        write_losses(run.tensorboard, epochs, f".{process}")
        for process, epochs in enumerate([(1, 2), (3, 4), (4,)])
    )
    before = first.read_bytes()
    second.write_bytes(second.read_bytes()[:-3])
    run.forget_after(Place(3, 12))
    assert told_losses(run.tensorboard) == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert first.read_bytes() == before and not third.exists()
    run.forget_after(Place(1))
    assert told_losses(run.tensorboard) == [(1, 0.5)]
    assert [path.name for path in run.tensorboard.iterdir()] == [first.name]


def test_only_the_newest_checkpoints_stay(tmp_path, model):
    run = RunDirectory(tmp_path)
    for epoch in (1, 2, 3, 10):
        run.save_checkpoint(model, at(epoch), keep=2)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0010", "epoch-0003"]
    assert len(list(run.checkpoints.iterdir())) == 2


def test_checkpoints_of_what_is_done_again_are_forgotten(tmp_path, model):
    run = RunDirectory(tmp_path)
    for epoch in (3, 10):
        run.save_checkpoint(model, at(epoch), keep=2)
    run.forget_after(Place(5))
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0003"]


@pytest.fixture
def run_within_epochs(tmp_path, model):
    """Five checkpoints at and within epochs, of which four are kept."""
    run = RunDirectory(tmp_path)
    for epoch, step in ((1, 0), (1, 90), (1, 120), (2, 0), (2, 7)):
        run.save_checkpoint(model, at(epoch, step), keep=4)
        run.save_assignments(epoch + 1, CHECKPOINT.clusters.assignments)
    return run


def test_checkpoints_within_epochs_have_their_place(run_within_epochs, model):
    checkpoints = run_within_epochs.newest_checkpoints()
    assert [path.name for path in checkpoints] == [
        *("epoch-0003-step-000007", "epoch-0002", "epoch-0002-step-000120"),
        "epoch-0002-step-000090",
    ]
    assert [epochs_done(path) for path in checkpoints] == [2, 2, 1, 1]
    assert load_checkpoint(checkpoints[0], model).place == (2, 7)


def test_what_is_done_again_within_an_epoch_is_forgotten(run_within_epochs):
    run_within_epochs.forget_after(Place(1, 100))
    names = [path.name for path in run_within_epochs.newest_checkpoints()]
    assert names == ["epoch-0002-step-000090"]
    assert [path.name for path in run_within_epochs.assignments.iterdir()] == ["epoch-0002.npy"]


def test_other_names_are_none_of_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="epoch-3"):
        epochs_done(tmp_path / "epoch-3")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_leaves_the_last_good_state(tmp_path, model):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("this machine does not let a file system be mounted")
    try:
        run = RunDirectory(disk)
        run.save_checkpoint(model, CHECKPOINT, keep=3)
        with pytest.raises(CannotWriteError, match="No space left.*make room"):
            for epoch in range(4, 20):
                run.save_checkpoint(model, at(epoch), keep=30)
        assert load_checkpoint(run.newest_checkpoints()[0], model).place >= (3, 0)
        assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_half_written_checkpoint_is_none(tmp_path, model):
    run = RunDirectory(tmp_path)
    run.save_checkpoint(model, CHECKPOINT, keep=3)
    (run.checkpoints / "epoch-0009").mkdir()
    (run.checkpoints / ".epoch-0010.x1y2").mkdir()
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0003"]


@pytest.fixture
def damaged_run(tmp_path, model):
    """A run of two checkpoints, the newest of which is cut off."""
    run = RunDirectory(tmp_path)
    for epoch in (1, 2):
        run.save_checkpoint(model, at(epoch), keep=3)
    weights = run.newest_checkpoints()[0] / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:1000])
    return run


def test_a_damaged_checkpoint_falls_back_to_the_one_before(damaged_run, model, warnings_told):
    assert damaged_run.load_weights(model).name == "epoch-0001"
    (message,) = warnings_told("is damaged")
    assert str(damaged_run.checkpoints / "epoch-0002") in message


def test_a_checkpoint_with_a_variable_too_many_falls_back_to_the_one_before(
    damaged_run, model, warnings_told
):
    newest = damaged_run.checkpoints / "epoch-0003"
    damaged_run.save_checkpoint(model, at(3), keep=3)
    with np.load(newest / "weights.npz") as file:
        np.savez(newest / "weights.npz", **file, more=np.zeros(3))
    write_sums(newest)
    assert damaged_run.load_weights(model).name == "epoch-0001"
    assert "weights.npz has more, which is unexpected" in warnings_told("epoch-0003 is damaged")[0]


def test_damaged_checkpoints_alone(damaged_run, model):
    (damaged_run.newest_checkpoints()[1] / "weights.npz").unlink()
    with pytest.raises(InputError, match="No checkpoint of the run can be read.*2 damaged ones"):
        damaged_run.load_weights(model)


def test_no_checkpoint_yet(tmp_path, model):
    with pytest.raises(InputError, match="no checkpoint yet"):
        RunDirectory(tmp_path).load_weights(model)
