"""The run directory: what may be written where, and checkpoints that load back."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import TrainingConfig
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.training.checkpoints import Checkpoint, DamagedCheckpointError, load_checkpoint
from dc_keras.training.run_state import RunDirectory, epochs_done
from dc_keras.training.train import build_trainer

TINY = ["--data_dir=d", "--image_size=32", "--width=0.0625", "--num_clusters=4", "--pca_dim=3"]


def tiny_config(run_dir, *more):
    return TrainingConfig.from_arguments([*TINY, f"--run_dir={run_dir}", *more])


@pytest.fixture
def checkpoint(rng):
    return Checkpoint(
        epoch=3,
        assignments=rng.integers(0, 4, 20).astype("int32"),
        centroids=rng.normal(size=(4, 3)).astype("float32"),
        whitening=fit_whitening(rng.normal(size=(20, 6)).astype("float32"), 3),
    )


def test_a_new_folder_is_fine_and_stays_untouched(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.check(tiny_config(run.path))
    assert not run.path.exists() and not run.exists()


def test_another_configuration_is_refused_with_the_flags_that_differ(tmp_path):
    run = RunDirectory(tmp_path)
    tiny_config(tmp_path).save(run.flags)
    before = run.flags.read_text()
    run.check(tiny_config(tmp_path, "--epochs=600", "--keep_checkpoints=1"))
    with pytest.raises(InputError) as error:
        run.check(tiny_config(tmp_path, "--seed=5", "--learning_rate=0.1"))
    assert "--seed: 31 in the run, 5 now" in str(error.value)
    assert "--learning_rate: 0.05 in the run, 0.1 now" in str(error.value)
    assert run.flags.read_text() == before


def test_resume_never_refuses_a_run(tmp_path):
    run = RunDirectory(tmp_path)
    tiny_config(tmp_path).save(run.flags)
    with pytest.raises(InputError, match="already holds a run.*--resume=never"):
        run.check(tiny_config(tmp_path, "--resume=never"))


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        RunDirectory(tmp_path / "file").check(tiny_config(tmp_path / "file"))


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
    run.forget_after(1)
    assert run.metrics.read_text() == json.dumps({"epoch": 1, "loss": 2.5}) + "\n"


def test_tensorboard_forgets_what_is_done_again(tmp_path):
    """An early process, one that wrote of epochs 3 and 4 and was cut off, one of epoch 4 alone."""
    run = RunDirectory(tmp_path)
    for process, epochs in enumerate([(1, 2), (3, 4), (4,)]):
        writer = EventFileWriter(str(run.tensorboard), filename_suffix=f".{process}")
        for epoch in epochs:
            value = Summary.Value(tag="loss", simple_value=epoch / 2)
            writer.add_event(Event(step=epoch, wall_time=7.0, summary=Summary(value=[value])))
        writer.close()
    first, second, third = sorted(run.tensorboard.iterdir(), key=lambda path: path.suffix)
    before = first.read_bytes()
    second.write_bytes(second.read_bytes()[:-3])

    def told():
        accumulator = EventAccumulator(str(run.tensorboard)).Reload()
        return [(event.step, event.value) for event in accumulator.Scalars("loss")]

    run.forget_after(3, 12)
    assert told() == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert first.read_bytes() == before and not third.exists()
    run.forget_after(1)
    assert told() == [(1, 0.5)]
    assert [path.name for path in run.tensorboard.iterdir()] == [first.name]


def test_a_checkpoint_brings_everything_back(tmp_path, checkpoint, rng):
    config = tiny_config(tmp_path)
    run, model = RunDirectory(tmp_path), build_trainer(config)
    for variable in [*model.weights, *model.optimizer.variables]:
        if variable.dtype == "float32":
            variable.assign(rng.normal(size=variable.shape).astype("float32"))
    model.head_optimizer.iterations.assign(17)
    run.save_checkpoint(model, checkpoint, keep=3)

    other = build_trainer(dataclasses.replace(config, seed=99))
    loaded = load_checkpoint(run.newest_checkpoints()[0], other)
    assert loaded.epoch == 3
    np.testing.assert_array_equal(loaded.assignments, checkpoint.assignments)
    np.testing.assert_array_equal(loaded.centroids, checkpoint.centroids)
    np.testing.assert_array_equal(loaded.whitening.projection, checkpoint.whitening.projection)
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    for name in ("optimizer", "head_optimizer"):
        pairs = zip(getattr(model, name).variables, getattr(other, name).variables, strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_only_the_newest_checkpoints_stay(tmp_path, checkpoint):
    run, model = RunDirectory(tmp_path), build_trainer(tiny_config(tmp_path))
    for epoch in (1, 2, 3, 10):
        run.save_checkpoint(model, dataclasses.replace(checkpoint, epoch=epoch), keep=2)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0010", "epoch-0003"]
    assert len(list(run.checkpoints.iterdir())) == 2
    run.forget_after(5)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0003"]


def test_checkpoints_within_epochs_have_their_place(tmp_path, checkpoint):
    run, model = RunDirectory(tmp_path), build_trainer(tiny_config(tmp_path))
    for epoch, step in ((1, 0), (1, 90), (1, 120), (2, 0), (2, 7)):
        place = dataclasses.replace(checkpoint, epoch=epoch, step=step)
        run.save_checkpoint(model, place, keep=4)
        run.save_assignments(epoch + 1, checkpoint.assignments)
    names = [path.name for path in run.newest_checkpoints()]
    assert names == [
        *("epoch-0003-step-000007", "epoch-0002", "epoch-0002-step-000120"),
        "epoch-0002-step-000090",
    ]
    assert [epochs_done(path) for path in run.newest_checkpoints()] == [2, 2, 1, 1]
    loaded = load_checkpoint(run.newest_checkpoints()[0], model)
    assert (loaded.epoch, loaded.step) == (2, 7)
    run.forget_after(1, 100)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0002-step-000090"]
    assert [path.name for path in run.assignments.iterdir()] == ["epoch-0002.npy"]


@pytest.mark.parametrize("name", ["weights.npz", "means.npz", "clusters.npz", "state.json"])
def test_a_flipped_bit_is_noticed(tmp_path, checkpoint, rng, name):
    run, model = RunDirectory(tmp_path), build_trainer(tiny_config(tmp_path))
    run.save_checkpoint(model, checkpoint, keep=3)
    path = run.newest_checkpoints()[0] / name
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=name):
        load_checkpoint(path.parent, model)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_leaves_the_last_good_state(tmp_path, checkpoint):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("this machine does not let a file system be mounted")
    try:
        run, model = RunDirectory(disk), build_trainer(tiny_config(disk))
        run.save_checkpoint(model, checkpoint, keep=3)
        with pytest.raises(CannotWriteError, match="No space left.*make room"):
            for epoch in range(4, 20):
                run.save_checkpoint(model, dataclasses.replace(checkpoint, epoch=epoch), keep=30)
        assert load_checkpoint(run.newest_checkpoints()[0], model).epoch >= 3
        assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_half_written_checkpoint_is_none(tmp_path, checkpoint):
    run, model = RunDirectory(tmp_path), build_trainer(tiny_config(tmp_path))
    run.save_checkpoint(model, checkpoint, keep=3)
    (run.checkpoints / "epoch-0009").mkdir()
    (run.checkpoints / ".epoch-0010.x1y2").mkdir()
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0003"]


def test_a_checkpoint_of_another_network(tmp_path, checkpoint):
    run = RunDirectory(tmp_path)
    run.save_checkpoint(build_trainer(tiny_config(tmp_path)), checkpoint, keep=3)
    wider = build_trainer(tiny_config(tmp_path, "--width=0.125"))
    with pytest.raises(InputError, match="conv1_1/kernel has shape .3, 3, 2, 4., not .3, 3, 2, 8."):
        load_checkpoint(run.newest_checkpoints()[0], wider)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, checkpoint):
    run, model = RunDirectory(tmp_path), build_trainer(tiny_config(tmp_path))
    for epoch in (1, 2):
        run.save_checkpoint(model, dataclasses.replace(checkpoint, epoch=epoch), keep=3)
    weights = run.newest_checkpoints()[0] / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert run.load_weights(model).name == "epoch-0001"
    (run.newest_checkpoints()[1] / "weights.npz").unlink()
    with pytest.raises(InputError, match="No checkpoint of the run can be read.*2 damaged ones"):
        run.load_weights(model)


def test_no_checkpoint(tmp_path):
    model = build_trainer(tiny_config(tmp_path))
    with pytest.raises(InputError, match="no checkpoint in this folder"):
        load_checkpoint(tmp_path, model)
    with pytest.raises(InputError, match="no checkpoint yet"):
        RunDirectory(tmp_path).load_weights(model)
