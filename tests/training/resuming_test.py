"""Runs that go on: from which checkpoint, to which end, and when checkpoints are written."""

import contextlib
import dataclasses
import io
import os
import shutil
import signal

import numpy as np
import pytest

from dc_keras.errors import DegenerateDataError, InputError
from dc_keras.files import remove_directory
from dc_keras.runs.checkpoints import Checkpoint, Place, epoch_state
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.interruption import Interrupted, Interruption
from dc_keras.training.loop import train
from dc_keras.training.resuming import (
    Cadence,
    RestoreEpochState,
    SaveCheckpoint,
    load_latest,
    restored_turn,
)
from events import told_tags
from marks import LONG
from old_runs import REMOVED_FLAGS, forget_numbers
from results import assert_same_assignments, assignments
from tiny import tiny
from trainers import tiny_trainer
from turns import turn_of


@pytest.fixture(scope="module")
def first(tmp_path_factory, npz):
    """A run of two epochs; nothing may be written into it."""
    return train(tiny(npz, tmp_path_factory.mktemp("first") / "run"))


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([], id="uniform"),
        pytest.param(["--sampler=reweight"], id="reweight", marks=LONG),
    ],
)
def test_a_run_goes_on_where_it_was_stopped(tmp_path, npz, flags):
    """Same end as without the stop, up to the order of sums in TensorFlow's threads."""
    whole = train(tiny(npz, tmp_path / "whole", *flags, "--epochs=3"))
    train(tiny(npz, tmp_path / "halves", *flags, "--epochs=1"))
    halves = train(tiny(npz, tmp_path / "halves", *flags, "--epochs=3"))
    assert_same_assignments(assignments(whole), assignments(halves))
    assert (whole.model / "clusters.csv").read_text() == (halves.model / "clusters.csv").read_text()
    for a, b in zip(whole.read_metrics(), halves.read_metrics(), strict=True):
        assert a["epoch"] == b["epoch"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["cluster"] == pytest.approx(b["cluster"], abs=1e-4)


def test_the_improved_mode_goes_on_where_it_was_stopped(tmp_path, npz):
    flags = ["--mode=improved", "--color_jitter=1", "--grayscale=0.2", "--sobel=false"]
    flags += ["--learning_rate_schedule=cosine", "--epochs=4"]
    whole = train(tiny(npz, tmp_path / "whole", *flags))
    third = whole.checkpoints / "epoch-0003"
    again = train(tiny(npz, tmp_path / "again", *flags, f"--resume={third}"))
    rates = [record["learning_rate"] for record in whole.read_metrics()]
    # Half a cosine from 0.05 over four epochs.
    np.testing.assert_allclose(rates, 0.025 * (1 + np.cos(np.pi * np.arange(1, 5) / 4)), atol=1e-8)
    last, same = whole.read_metrics()[-1], again.read_metrics()[-1]
    assert last["learning_rate"] == same["learning_rate"]
    assert last["loss"] == pytest.approx(same["loss"], abs=1e-3)
    assert last["cluster"] == pytest.approx(same["cluster"], abs=1e-3)


@pytest.fixture(scope="module")
def older(tmp_path_factory, npz):
    """A run that an older version began and this one went on with, and one all by this one.

    Older versions showed clusters under the numbers that k-means gave them.
    """
    folder = tmp_path_factory.mktemp("older")
    whole = train(tiny(npz, folder / "whole", "--epochs=3"))
    run = train(tiny(npz, folder / "older"))
    checkpoint = run.newest_checkpoints()[0]
    forget_numbers(checkpoint)
    with np.load(checkpoint / "clusters.npz") as file:
        run.save_assignments(2, file["assignments"])
    with open(run.flags, "a") as file:
        file.write(REMOVED_FLAGS)
    return whole, train(dataclasses.replace(run.config(), epochs=3))


def test_a_run_of_an_older_version_learns_what_it_would_have(older):
    whole, run = (made.read_metrics() for made in older)
    assert [record["epoch"] for record in run] == [1, 2, 3]
    for a, b in zip(whole, run, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["cluster"] == pytest.approx(b["cluster"], abs=1e-4)


def test_a_run_of_an_older_version_finds_the_same_clusters_up_to_their_numbers(older):
    whole, run = (assignments(made)["epoch-0003.npy"] for made in older)
    pairs = set(zip(whole.tolist(), run.tolist(), strict=True))
    assert len(pairs) == len(set(whole.tolist())) == len(set(run.tolist()))


def test_clusters_of_a_run_of_an_older_version_keep_their_numbers_from_then_on(older):
    _, run = older
    second, third = list(assignments(run).values())[1:]
    assert (second != third).mean() == run.read_metrics()[2]["cluster"]["churn"]


@dataclasses.dataclass
class TakenUp:
    """A run of one epoch, four steps, and the same taken up behind the second step."""

    names: tuple[list, list]
    printed: tuple[str, str]
    logged: tuple[str, str]
    records: tuple[list, list]
    tags: tuple[list, list]


@pytest.fixture(scope="module")
def taken_up(tmp_path_factory, npz):
    """64 images in batches of 16: four steps, each saved because of the time."""
    place = tmp_path_factory.mktemp("taken up") / "run"
    run = RunDirectory(place)
    resume = f"--resume={place}/checkpoints/epoch-0001-step-000002"
    told = []
    for flags in (
        ["--checkpoint_every_minutes=1e-9", "--keep_checkpoints=9"],
        ["--checkpoint_every_steps=3", resume],
    ):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            train(tiny(npz, place, "--epochs=1", *flags))
        names = [path.name for path in run.newest_checkpoints()]
        logged = run.log_file.read_text()
        told.append(
            (names, printed.getvalue(), logged, run.read_metrics(), told_tags(run.tensorboard))
        )
    return TakenUp(*zip(*told, strict=True))


def test_checkpoints_are_written_when_it_is_time(taken_up):
    steps = [f"epoch-0001-step-00000{step}" for step in (3, 2, 1)]
    assert taken_up.names == (["epoch-0001", *steps], ["epoch-0001", *steps[:2]])


def test_an_epoch_taken_up_in_its_middle_is_told_once(taken_up):
    assert "Going on after step 2 of epoch 1" in taken_up.printed[1]
    assert all(text.count("Clustering 1: 6 clusters") == 1 for text in taken_up.logged)
    assert taken_up.tags[0] == taken_up.tags[1]


def test_an_epoch_taken_up_in_its_middle_has_the_figures_of_the_whole(taken_up):
    (before,), (after,) = taken_up.records
    assert after["cluster"] == before["cluster"]
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-4)


def test_a_run_starts_from_a_named_checkpoint(tmp_path, npz, first, capsys):
    checkpoint = first.checkpoints / "epoch-0001"
    other = train(tiny(npz, tmp_path / "other", f"--resume={checkpoint}"))
    assert f"Going on after epoch 1 from {checkpoint}" in capsys.readouterr().out
    assert [record["epoch"] for record in other.read_metrics()] == [2]
    np.testing.assert_array_equal(
        np.load(other.assignments / "epoch-0002.npy"),
        np.load(first.assignments / "epoch-0002.npy"),
    )


def test_and_goes_on_with_the_same_command(tmp_path, npz, first, capsys):
    flags = tmp_path / "other", f"--resume={first.checkpoints}/epoch-0001"
    other = train(tiny(npz, *flags))
    remove_directory(other.model)
    train(tiny(npz, *flags))
    assert f"Going on after epoch 2 from {other.checkpoints}/epoch-0002" in capsys.readouterr().out
    assert [record["epoch"] for record in other.read_metrics()] == [2]
    with pytest.raises(InputError, match="the same command with --resume=auto"):
        train(tiny(npz, flags[0], f"--resume={first.checkpoints}/epoch-0002"))


@pytest.fixture
def second(tmp_path, npz):
    """A run of one epoch."""
    return train(tiny(npz, tmp_path / "second", "--epochs=1"))


def test_a_checkpoint_never_replaces_another_run(npz, first, second):
    with pytest.raises(InputError, match="already holds a run, which a checkpoint of another"):
        train(tiny(npz, second.path, f"--resume={first.checkpoints}/epoch-0001"))


def test_a_run_goes_on_from_a_checkpoint_of_its_own(npz, second):
    train(tiny(npz, second.path, f"--resume={second.checkpoints}/epoch-0001"))
    assert len(second.read_metrics()) == 2


def test_damaged_checkpoints_are_not_thrown_away(npz, second):
    weights = second.checkpoints / "epoch-0001" / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="No checkpoint of the run can be read"):
        train(tiny(npz, second.path, "--epochs=2"))
    assert weights.exists()


def test_until_a_run_has_a_checkpoint_it_begins_with_the_one_that_was_named(tmp_path, first, model):
    run, named = RunDirectory(tmp_path), str(first.checkpoints / "epoch-0001")
    run.checkpoints.mkdir()
    assert load_latest(run, model, named, num_images=64).place == Place(1)
    shutil.copytree(first.checkpoints / "epoch-0002", run.checkpoints / "epoch-0002")
    assert load_latest(run, model, named, num_images=64).place == Place(2)


def test_a_checkpoint_that_is_none(tmp_path, npz):
    with pytest.raises(InputError, match="no checkpoint in this folder"):
        train(tiny(npz, tmp_path / "run", f"--resume={tmp_path}"))


@pytest.fixture(scope="module")
def model():
    return tiny_trainer()


def test_where_there_is_no_checkpoint_what_was_recorded_is_forgotten(tmp_path, model):
    run = RunDirectory(tmp_path)
    run.append_metrics({"epoch": 1})
    run.save_assignments(1, np.zeros(4, int))
    assert load_latest(run, model, "auto", num_images=4) is None
    assert run.read_metrics() == [] and not any(run.assignments.iterdir())


def test_a_checkpoint_of_other_images(first, model):
    with pytest.raises(InputError, match="other images. .*epoch-0002 with 64 images. Expected 65"):
        load_latest(first, model, "auto", num_images=65)


@pytest.mark.parametrize(("place", "epoch"), [(Place(3), 2), (Place(3, 5), 3)])
def test_the_turn_of_a_checkpoint_is_of_the_epoch_that_is_done_or_under_way(place, epoch):
    turn = turn_of([0, 1, 2], numbers=np.array([2, 0, 1], "int32"))
    checkpoint = Checkpoint(
        place=place,
        clusters=turn.clusters,
        numbers=turn.numbers,
        whitening=turn.whitening,
        clustered=True,
        figures={"clusters": 3},
        seconds={"pca": 1.0},
    )
    restored = restored_turn(checkpoint)
    assert restored.epoch == epoch and restored.clustered and not restored.taken_up
    assert (restored.figures, restored.seconds) == ({"clusters": 3}, {"pca": 1.0})
    assert restored.shown_assignments.tolist() == [2, 0, 1]


@pytest.mark.parametrize("is_taken_up", [True, False])
def test_only_an_epoch_that_is_taken_up_gets_its_state_back(is_taken_up):
    model = tiny_trainer()
    model.loss_mean.update_state([1.0, 4.0])
    state = epoch_state(model)
    callback = RestoreEpochState()
    callback.set_model(model)
    callback.on_train_begin()
    # What Keras and `Recluster` do at the beginning of an epoch.
    model.reset_metrics()
    model.reseed_dropout(1, 2)
    anew = epoch_state(model)
    callback.begin_turn(turn_of([0, 1, 2], taken_up=is_taken_up))
    for name, value in epoch_state(model).items():
        np.testing.assert_array_equal(value, (state if is_taken_up else anew)[name])
    assert any((state[name] != anew[name]).any() for name in state)


THREE_EPOCHS = Place(3)


class Run:
    """In place of a `RunDirectory`: notes the checkpoints that are saved."""

    def __init__(self):
        self.saved = []

    def save_checkpoint(self, model, checkpoint, keep):
        self.saved.append((checkpoint, keep))


@pytest.fixture
def saving(model):
    """Makes a callback at the beginning of epoch 4, of five steps, and the run it saves to."""

    def make(place=THREE_EPOCHS, **cadence):
        run, interruption = Run(), Interruption()
        save = SaveCheckpoint(run, interruption, Cadence(keep=2, **cadence), place)
        save.set_model(model)
        save.set_params({"steps": 5 - place.step})
        save.on_train_begin()
        save.begin_turn(turn_of([0, 1, 2], epoch=3))
        return save, run, interruption

    return make


def take_steps(save, count, loss=1.0):
    for batch in range(count):
        save.on_train_batch_end(batch, {"loss": loss})


def places(run):
    return [tuple(checkpoint.place) for checkpoint, _ in run.saved]


def test_checkpoints_at_steps_and_at_the_end_of_the_epoch(saving):
    save, run, _ = saving(every_steps=2)
    take_steps(save, 5)
    assert places(run) == [(3, 2), (3, 4)]
    save.on_epoch_end(3)
    assert places(run) == [(3, 2), (3, 4), (4, 0)] and save.place == (4, 0)
    assert {keep for _, keep in run.saved} == {2}


def test_steps_of_an_epoch_that_is_taken_up_are_counted_on(saving):
    save, run, _ = saving(Place(3, 2), every_steps=2)
    take_steps(save, 3)
    assert places(run) == [(3, 4)] and save.place == (3, 5)


def test_what_is_saved_is_the_turn(saving):
    save, run, _ = saving()
    turn = turn_of([0, 1, 1, 2], epoch=3, numbers=np.array([1, 2, 0], "int32"))
    save.begin_turn(turn)
    save.on_epoch_end(3)
    ((checkpoint, _),) = run.saved
    assert checkpoint.clusters is turn.clusters and checkpoint.whitening is turn.whitening
    assert checkpoint.numbers.tolist() == [1, 2, 0]
    assert checkpoint.clustered and checkpoint.figures == turn.figures


def test_a_signal_saves_and_ends_behind_the_step(saving):
    save, run, interruption = saving()
    with interruption.listening(), pytest.raises(Interrupted, match="SIGTERM"):
        take_steps(save, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.saved == []
        save.on_train_batch_end(1, {"loss": 1.0})
    assert places(run) == [(3, 2)]


def test_a_signal_in_the_last_step_ends_behind_the_figures_of_the_epoch(saving):
    save, run, interruption = saving(Place(3, 4))
    interruption.requested = signal.SIGTERM
    take_steps(save, 1)
    assert run.saved == []
    with pytest.raises(Interrupted):
        save.on_epoch_end(3)
    assert places(run) == [(4, 0)]


def test_a_request_to_save_is_met_once(saving):
    save, run, interruption = saving()
    take_steps(save, 1)
    interruption.save_requested = True
    save.on_train_batch_end(1, {"loss": 1.0})
    save.on_train_batch_end(2, {"loss": 1.0})
    assert places(run) == [(3, 2)] and not interruption.save_requested


def test_a_loss_that_is_not_finite_is_not_saved(saving):
    save, run, _ = saving(every_steps=1)
    take_steps(save, 1)
    with pytest.raises(DegenerateDataError, match="at step 2 of epoch 4"):
        save.on_train_batch_end(1, {"loss": float("nan")})
    assert places(run) == [(3, 1)]
