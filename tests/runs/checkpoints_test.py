"""Checkpoints: all that they bring back, and what is found to be wrong with them."""

import hashlib
import json
import subprocess

import numpy as np
import pytest

from dc_keras.clustering.pseudo_labels import Clusters
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.errors import InputError
from dc_keras.models.deepcluster import plain_network
from dc_keras.runs.checkpoints import (
    Checkpoint,
    DamagedCheckpointError,
    Place,
    epoch_state,
    load_checkpoint,
    load_weights,
    restore_epoch_state,
    write_checkpoint,
    write_weights,
)
from dc_keras.runs.checksums import write_sums
from old_runs import forget_numbers
from trainers import tiny_trainer


@pytest.fixture
def checkpoint(rng):
    return Checkpoint(
        place=Place(3, 7),
        clusters=Clusters(
            assignments=rng.integers(0, 6, 20).astype("int32"),
            centroids=rng.normal(size=(6, 3)).astype("float32"),
        ),
        numbers=rng.permutation(6).astype("int32"),
        whitening=fit_whitening(rng.normal(size=(20, 6)).astype("float32"), 3),
        clustered=True,
        figures={"clusters": 6, "churn": 0.25},
        seconds={"features": 1.5},
    )


@pytest.fixture(scope="module")
def model():
    """A trainer, all of whose variables are random."""
    model, rng = tiny_trainer(), np.random.default_rng(3)
    for variable in [*model.weights, *model.optimizer.variables, *model.head_optimizer.variables]:
        if variable.dtype == "float32":
            variable.assign(rng.normal(size=variable.shape).astype("float32"))
    model.head_optimizer.iterations.assign(17)
    model.loss_mean.update_state([1.0, 4.0])
    model.reseed_dropout(5, 6)
    return model


@pytest.fixture
def written(tmp_path, model, checkpoint):
    path = tmp_path / "epoch-0004-step-000007"
    write_checkpoint(path, model, checkpoint)
    return path


def test_a_checkpoint_brings_the_clustering_back(written, checkpoint):
    loaded = load_checkpoint(written, tiny_trainer("--seed=99"))
    for name in ("place", "clustered", "figures", "seconds"):
        assert getattr(loaded, name) == getattr(checkpoint, name)
    np.testing.assert_array_equal(loaded.clusters.assignments, checkpoint.clusters.assignments)
    np.testing.assert_array_equal(loaded.clusters.centroids, checkpoint.clusters.centroids)
    np.testing.assert_array_equal(loaded.numbers, checkpoint.numbers)
    np.testing.assert_array_equal(loaded.whitening.projection, checkpoint.whitening.projection)


@pytest.mark.parametrize(
    "variables",
    [
        lambda model: model.weights,
        lambda model: model.optimizer.variables,
        lambda model: model.head_optimizer.variables,
        lambda model: [variable for metric in model.metrics for variable in metric.variables],
        lambda model: list(model.dropout_states.values()),
    ],
    ids=["weights", "optimizer", "head's optimizer", "means", "dropout"],
)
def test_a_checkpoint_brings_variables_back(written, model, variables):
    other = tiny_trainer("--seed=99")
    load_checkpoint(written, other)
    assert variables(model)
    for a, b in zip(variables(model), variables(other), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_an_older_checkpoint_shows_clusters_under_their_own_numbers(written, model, checkpoint):
    forget_numbers(written)
    with np.load(written / "clusters.npz") as file:
        assert set(file) == {"assignments", "centroids"}
    loaded = load_checkpoint(written, model)
    assert loaded.numbers.dtype == np.int32 and loaded.numbers.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(loaded.clusters.assignments, checkpoint.clusters.assignments)


def test_checksums_are_those_of_sha256sum(written):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=written,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name for path in written.iterdir()} - {"SHA256SUMS"}
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == names


@pytest.mark.parametrize("name", ["weights.npz", "means.npz", "clusters.npz", "state.json"])
def test_a_flipped_bit_is_noticed(written, model, rng, name):
    path = written / name
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    before = [variable.numpy() for variable in model.weights]
    with pytest.raises(DamagedCheckpointError, match=name):
        load_checkpoint(written, model)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_checksums_that_are_cut_off_are_noticed(written, model):
    sums = written / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(DamagedCheckpointError, match="SHA256SUMS is cut off"):
        load_checkpoint(written, model)


def rewrite(checkpoint, name, change):
    """Changes arrays of a checkpoint, or its state, as a program would that makes the sums too."""
    path = checkpoint / name
    if name.endswith(".json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    else:
        with np.load(path) as file:
            content = dict(file)
        change(content)
        np.savez(path, **content)
    write_sums(checkpoint)


@pytest.mark.parametrize("name", ["weights.npz", "optimizers.npz", "means.npz"])
def test_a_variable_too_many_is_damage_and_nothing_is_loaded(written, model, name):
    rewrite(written, name, lambda arrays: arrays.update(more=np.zeros(3)))
    before = [variable.numpy() for variable in model.weights]
    model.weights[0].assign(before[0] + 1)
    with pytest.raises(DamagedCheckpointError, match=f"{name} has more, which is unexpected"):
        load_checkpoint(written, model)
    np.testing.assert_array_equal(model.weights[0].numpy(), before[0] + 1)
    model.weights[0].assign(before[0])


DAMAGE = {
    "labels above": ("clusters.npz", lambda x: x["assignments"].__setitem__(3, 6), "0 to 6 of 6"),
    "labels below": ("clusters.npz", lambda x: x["assignments"].__setitem__(3, -1), "-1 to 5 of 6"),
    "no labels": ("clusters.npz", lambda x: x.pop("assignments"), "assignments"),
    "labels that are none": (
        *("clusters.npz", lambda x: x.update(assignments=np.zeros(20))),
        "no pseudo-labels",
    ),
    "pickled": (
        *("clusters.npz", lambda x: x.update(centroids=np.array([{}, None]))),
        "allow_pickle=False",
    ),
    "numbers": ("clusters.npz", lambda x: x.update(numbers=np.arange(5)), "number its 6 clusters"),
    "whitening": ("whitening.npz", lambda x: x.update(mean=np.zeros(2)), "do not fit together"),
    "texts": (
        *("means.npz", lambda x: x.update({name: x[name].astype("U") for name in x})),
        "no numbers for",
    ),
    "no place": ("state.json", lambda x: x.update(epoch="three"), "tells no place"),
    "no step": ("state.json", lambda x: x.pop("step"), "step"),
}


@pytest.mark.parametrize(("name", "change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_contents_that_no_training_wrote_are_damage(written, model, name, change, message):
    rewrite(written, name, change)
    with pytest.raises(DamagedCheckpointError, match=message):
        load_checkpoint(written, model)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".", "..", "sub/file"])
def test_checksums_of_files_elsewhere_are_damage(written, model, name):
    (written.parent / "secret").write_text("")
    with open(written / "SHA256SUMS", "a") as file:
        file.write(f"{hashlib.sha256(b'').hexdigest()}  {name}\n")
    with pytest.raises(DamagedCheckpointError, match="something else than a file of its folder"):
        load_checkpoint(written, model)


def test_checksums_that_are_cut_off_behind_a_line_are_noticed(written, model):
    sums = written / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DamagedCheckpointError, match="SHA256SUMS is cut off"):
        load_checkpoint(written, model)


def test_a_checkpoint_of_another_network(written):
    with pytest.raises(InputError, match="conv1_1/kernel has shape .3, 3, 2, 4., not .3, 3, 2, 8."):
        load_checkpoint(written, tiny_trainer("--width=0.125"))


def test_no_checkpoint(tmp_path, model):
    with pytest.raises(InputError, match="no checkpoint in this folder"):
        load_checkpoint(tmp_path, model)


def test_weights_alone_are_loaded_into_a_network(tmp_path, model):
    write_weights(tmp_path / "epoch-0007", plain_network(model), epoch=7)
    assert json.loads((tmp_path / "epoch-0007" / "state.json").read_text()) == {"epoch": 7}
    other = plain_network(tiny_trainer("--seed=99"))
    load_weights(tmp_path / "epoch-0007", other)
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_no_training_goes_on_from_weights_alone(tmp_path, model):
    write_weights(tmp_path / "epoch-0007", plain_network(model), epoch=7)
    with pytest.raises(InputError, match="holds weights alone, so no training can go on from it"):
        load_checkpoint(tmp_path / "epoch-0007", model)


def test_what_an_epoch_starts_anew_is_restored():
    model = tiny_trainer()
    model.loss_mean.update_state([1.0, 4.0])
    model.reseed_dropout(5, 6)
    state = epoch_state(model)
    loss = float(model.loss_mean.result())
    model.reset_metrics()
    model.reseed_dropout(5, 7)
    assert float(model.loss_mean.result()) != loss
    restore_epoch_state(model, state)
    assert float(model.loss_mean.result()) == loss
    for name, value in epoch_state(model).items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
