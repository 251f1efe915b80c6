"""Whole runs in this process: what is learned from, what is learned, what is left behind."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.optimize import linear_sum_assignment

import textures
from dc_keras.data.batches.uniform import UniformClusterSampler
from dc_keras.errors import InputError
from dc_keras.models.feature_extractor import feature_model
from dc_keras.models.patch_whitening import fit_filters
from dc_keras.models.saved_network import load_network
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model
from dc_keras.serving.assigned_images import write_clusters
from dc_keras.serving.export import export
from dc_keras.training.loop import callbacks_in_order, record_clusters, train
from dc_keras.training.recluster import Recluster
from marks import LONG
from results import assert_same_assignments, assignments
from tiny import tiny
from trainers import tiny_trainer
from turns import clustered_images, turn_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory, npz):
    """A run of four epochs."""
    return train(tiny(npz, tmp_path_factory.mktemp("finished") / "run", "--epochs=4"))


def test_it_learns_textures(tmp_path):
    """NMI with the classes rises clearly above that of the random network it starts from.

    With 12 clusters for 4 classes the highest possible NMI is sqrt(ln 4 / ln 12) = 0.75. Seen with
    five seeds: 0.20-0.28 at the start, 0.50-0.63 from the second epoch on.
    """
    images, labels = textures.textures(128)
    np.savez(tmp_path / "textures.npz", images=images, labels=labels)
    flags = ["--width=0.125", "--num_clusters=12", "--pca_dim=32", "--epochs=6"]
    flags += ["--batch_size=32", "--hflip=false"]
    run = train(tiny(tmp_path / "textures.npz", tmp_path / "run", *flags))
    nmi = [record["cluster"]["nmi_labels"] for record in run.read_metrics()]
    assert np.mean(nmi[-3:]) > nmi[0] + 0.15, nmi
    losses = [record["loss"] for record in run.read_metrics()]
    assert losses[-1] < losses[0] - 0.2, losses


def test_labels_never_reach_training(tmp_path, npz, rng):
    with np.load(npz) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    shuffled, none = tmp_path / "shuffled.npz", tmp_path / "none.npz"
    np.savez(shuffled, images=images, labels=rng.permutation(labels))
    np.savez(none, images=images)
    first, *others = (
        assignments(train(tiny(data, tmp_path / f"run{i}")))
        for i, data in enumerate((npz, shuffled, none))
    )
    assert len(first) == 2
    for other in others:
        assert_same_assignments(first, other)


@pytest.mark.slow
def test_names_of_class_folders_never_reach_training(tmp_path):
    images, labels = textures.textures(12)
    results = []
    for i, names in enumerate((["a", "b", "c", "d"], ["d", "b", "a", "c"])):
        textures.write_folders(tmp_path / f"images{i}", images, labels, names)
        results.append(assignments(train(tiny(tmp_path / f"images{i}", tmp_path / f"run{i}"))))
    assert_same_assignments(*results)


def test_the_run_directory_holds_all(finished):
    assert {path.name for path in finished.path.iterdir()} == {
        ".lock", "assignments", "checkpoints", "flags.cfg", "log.txt", "manifest.csv",
        "manifest.json", "metrics.jsonl", "model", "tensorboard",
    }  # fmt: skip
    assert {path.name for path in finished.model.iterdir()} == {
        "SHA256SUMS", "centroids.npy", "clusters.csv", "network.keras", "training.json",
        "whitening.npz",
    }  # fmt: skip


def test_the_run_directory_tells_its_settings(finished):
    assert RunDirectory(finished.path).config().num_clusters == 6


def test_the_cluster_of_each_image_is_listed(finished):
    header, *rows = (finished.model / "clusters.csv").read_text().splitlines()
    assert header == "index,path,cluster" and len(rows) == 64


def test_a_finished_run_is_clustered_anew_where_another_number_is_wanted(finished, npz, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    config = dataclasses.replace(finished.config(), run_dir=str(tmp_path / "run"), resume="auto")
    asked = dataclasses.replace(config, final_clusters=3)
    run = train(asked)
    assert load_model(run).centroids.shape[0] == 3
    assert set(final_clusters(run)) == {0, 1, 2}
    weights = [load_network(one.model / "network.keras").get_weights() for one in (finished, run)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert run.config().final_clusters == 3
    # Nothing is left to do for the same number, and the training's own can be had again.
    written = (run.model / "clusters.csv").stat().st_mtime_ns
    train(asked)
    assert (run.model / "clusters.csv").stat().st_mtime_ns == written
    np.testing.assert_array_equal(final_clusters(train(config)), final_clusters(finished))


def test_epochs_have_their_figures(finished):
    record = finished.read_metrics()[1]
    assert set(record["seconds"]) == {"features", "pca", "kmeans", "train"}
    assert {"nmi_previous", "nmi_labels", "objective", "explained_variance"} <= set(
        record["cluster"]
    )


def final_clusters(run):
    with open(run.model / "clusters.csv", newline="") as file:
        return np.array([int(row["cluster"]) for row in csv.DictReader(file)])


def test_clusters_keep_their_numbers_from_turn_to_turn(finished):
    """No other numbers would leave more images under the one they had before."""
    files = [*assignments(finished).values(), final_clusters(finished)]
    assert len(files) == 5
    for previous, current in zip(files, files[1:], strict=False):
        common = np.zeros((6, 6), int)
        np.add.at(common, (previous, current), 1)
        best = common[linear_sum_assignment(common, maximize=True)].sum()
        assert np.trace(common) == best
        assert best > len(current) / 6, "chance alone"


def test_churn_is_what_changed_between_the_files(finished):
    files = list(assignments(finished).values())
    told = [record["cluster"].get("churn") for record in finished.read_metrics()]
    changed = [(a != b).mean() for a, b in zip(files, files[1:], strict=False)]
    assert told == [None, *changed]


def test_final_centroids_are_in_the_order_of_the_numbers(finished):
    """Descriptors are nearest to the centroid of the number that their image is listed under."""
    centroids = np.load(finished.model / "centroids.npy")
    assert len(centroids) == 6
    made = finished.path.parent / "again.csv"
    config = finished.config()
    write_clusters(str(finished.path), config.data_dir, str(made), max_bad_fraction=0.0)
    with open(made, newline="") as file:
        found = np.array([int(row["cluster"]) for row in csv.DictReader(file)])
    # The repair of an empty cluster moves points that a nearest-centroid search may put back.
    assert (found == final_clusters(finished)).mean() > 0.95


@pytest.fixture(
    scope="module",
    params=[
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def mixed(request, tmp_path_factory, npz):
    """A precision, a run in it, and one in two parts."""
    folder, flags = tmp_path_factory.mktemp("mixed"), [f"--precision={request.param}"]
    flags.append("--deterministic")
    whole = train(tiny(npz, folder / "whole", *flags))
    train(tiny(npz, folder / "parts", *flags, "--epochs=1"))
    return request.param, whole, train(tiny(npz, folder / "parts", *flags))


def test_a_run_in_mixed_precision_goes_on_with_the_same_bits(mixed):
    last = "checkpoints/epoch-0002/SHA256SUMS"
    whole, parts = (
        [line for line in (run.path / last).read_text().splitlines() if "state.json" not in line]
        for run in mixed[1:]
    )
    assert whole == parts


def test_a_run_in_mixed_precision_gives_logits_in_float32(mixed, npz):
    network = load_network(mixed[1].model / "network.keras")
    with np.load(npz) as arrays:
        assert network(arrays["images"], training=False).dtype == "float32"


def test_a_run_in_mixed_precision_exports_features_in_float32(mixed, npz, tmp_path):
    precision, run, _ = mixed
    with np.load(npz) as arrays:
        images = arrays["images"]
    exported = tf.saved_model.load(export(run.path, str(tmp_path / "exported")))
    features = exported.signatures["features_uint8"](images=tf.constant(images))["features"]
    network = load_network(run.model / "network.keras")
    own = feature_model(network, "fc7")(images, training=False)
    assert own.dtype == precision[6:] and features.dtype == tf.float32
    difference = np.abs(features - np.asarray(own, "float32")).max()
    assert 0 < difference < 0.05 * np.abs(features).max()  # 8 significant bits over 15 layers


@pytest.fixture(scope="module")
def by_pic(tmp_path_factory, npz):
    """A run by power iteration clustering, with the released sampler."""
    flags = ["--clustering=pic", "--sampler=released", "--num_clusters=30"]
    return train(tiny(npz, tmp_path_factory.mktemp("pic") / "run", *flags))


def test_power_iteration_clustering_finds_the_number_of_clusters(by_pic):
    """The head has room for more."""
    for record, made in zip(by_pic.read_metrics(), assignments(by_pic).values(), strict=True):
        assert 2 <= record["cluster"]["clusters"] == made.max() + 1 < 30
        assert record["cluster"]["empty"] == 0 and "pic" in record["seconds"]
        assert np.isfinite(record["loss"])


def test_images_can_be_assigned_to_clusters_of_power_iteration(by_pic):
    centroids = np.load(by_pic.model / "centroids.npy")
    assert set(final_clusters(by_pic)) == set(range(len(centroids)))


@pytest.mark.parametrize(
    ("reassign", "clusterings"),
    [
        ("0.5", [1, 2, 3, 4]),
        pytest.param("2", [1], marks=LONG),
        pytest.param("1", [1, 2], marks=LONG),
    ],
)
def test_fractions_and_multiples_of_epochs(tmp_path, npz, reassign, clusterings):
    run = train(tiny(npz, tmp_path / "run", f"--reassign={reassign}"))
    assert sorted(assignments(run)) == [f"epoch-{epoch:04d}.npy" for epoch in clusterings]
    clustered = [record["epoch"] for record in run.read_metrics() if record["cluster"]]
    assert clustered == clusterings


COMPACT = (
    "--mode=improved --arch=compact --whitened_patches=3 --crop_scale=0.5 --num_clusters=4 "
    "--instance_views=4 --optimizer=muon --deterministic"
).split()


@pytest.fixture(scope="module")
def compact(tmp_path_factory, npz):
    """A run of the network for small images, with crops of half of the side."""
    return train(tiny(npz, tmp_path_factory.mktemp("compact") / "run", *COMPACT))


def test_the_first_layer_whitens_the_runs_images_and_stays(compact, npz):
    with np.load(npz) as arrays:
        images = arrays["images"]
    network = load_network(compact.model / "network.keras")
    filters = network.get_layer("patches").kernel.numpy()
    wanted = fit_filters([images], 3)  # there are fewer than are looked at
    # Directions of equal variance may turn, and batches add up in another order.
    got, want = (one.reshape(27, 54) @ one.reshape(27, 54).T for one in (filters, wanted))
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)
    assert network.input_shape == (None, 32, 32, 3)


def test_a_run_on_small_crops_goes_on_with_the_same_bits(compact, npz, tmp_path):
    config = tiny(npz, tmp_path / "run", *COMPACT, f"--resume={compact.checkpoints}/epoch-0001")
    again = train(config)
    one, other = (load_network(run.model / "network.keras") for run in (compact, again))
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


def test_two_mirrored_replicas(tmp_path, npz, two_devices):
    run = train(tiny(npz, tmp_path / "run", "--strategy=mirrored", "--virtual_devices=2"))
    records = run.read_metrics()
    assert len(records) == 2 and all(np.isfinite(record["loss"]) for record in records)
    # Batch norm differs by replica, but the first clustering sees the same initial network.
    alone = train(tiny(npz, tmp_path / "alone", "--strategy=one"))
    np.testing.assert_array_equal(
        np.load(run.assignments / "epoch-0001.npy"), np.load(alone.assignments / "epoch-0001.npy")
    )


@pytest.mark.slow
@pytest.mark.long
def test_mirrored_on_one_device_trains_as_one_device_does(tmp_path, npz):
    run = train(tiny(npz, tmp_path / "run", "--strategy=mirrored"))
    alone = train(tiny(npz, tmp_path / "alone", "--strategy=one"))
    # Sums of float32 may be in another order.
    losses = [[record["loss"] for record in one.read_metrics()] for one in (run, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture(scope="module")
def from_weights(tmp_path_factory, npz, finished):
    """A run of an epoch that started from another one, and its flags; the other is gone since."""
    folder = tmp_path_factory.mktemp("from_weights")
    source = shutil.copytree(finished.path, folder / "source")
    flags = [f"--init_from={source}", "--seed=5", "--num_clusters=5", "--learning_rate=1e-9"]
    run = train(tiny(npz, folder / "run", *flags, "--epochs=1"))
    shutil.rmtree(source)
    return run, flags


def test_a_run_starts_from_the_weights_of_another_and_says_so(from_weights, finished):
    run, flags = from_weights
    told = (
        "Start:    convolutions and their batch norm, fully connected layers from "
        f"{flags[0].removeprefix('--init_from=')}/checkpoints/epoch-0004\n"
        "          random: head\n"
    )
    assert told in run.log_file.read_text()
    ours, theirs = (load_network(one.model / "network.keras") for one in (run, finished))
    for layer in ("conv1_1", "conv5_3", "fc6", "fc7"):
        kernels = [network.get_layer(layer).kernel.numpy() for network in (ours, theirs)]
        # It has hardly learned.
        np.testing.assert_allclose(*kernels, atol=1e-6, err_msg=layer)


def test_a_run_goes_on_when_what_it_started_from_is_gone(from_weights, npz):
    run, flags = from_weights
    train(tiny(npz, run.path, *flags, "--epochs=2"))
    assert [record["epoch"] for record in run.read_metrics()] == [1, 2]
    assert run.log_file.read_text().count("Start:") == 1
    with pytest.raises(InputError, match="--init_from: .* in the run, '' now"):
        train(tiny(npz, run.path, *flags[1:], "--epochs=2"))


def test_weights_are_looked_at_before_images(tmp_path):
    with pytest.raises(InputError, match="nothing to start from"):
        train(tiny(tmp_path / "no images", tmp_path / "run", f"--init_from={tmp_path}/gone.pth"))


def test_photographs_of_any_size_without_labels(tmp_path, rng):
    for i in range(30):
        height, width = rng.integers(20, 90, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.jpg")
    run = train(tiny(tmp_path, tmp_path / "run", "--epochs=1", "--image_size=64"))
    record = run.read_metrics()[0]
    assert "nmi_labels" not in record["cluster"] and np.isfinite(record["loss"])


class Named:
    """In place of a callback: notes what it is told of."""

    def __init__(self, name, told):
        self.name = name
        self.told = told

    def begin_turn(self, turn):
        self.told.append((self.name, turn.epoch, turn.taken_up))


@pytest.fixture
def in_order():
    """A callback that clusters, all callbacks in their order, and what followers were told."""

    class Clusterer:
        def cluster(self, turn, previous):
            return clustered_images([0, 1, 2] * 4)

    told = []
    recluster = Recluster(
        tiny_trainer("--num_clusters=3"),
        UniformClusterSampler(12),
        Clusterer(),
        reassign=1.0,
        seed=1,
    )
    others = [Named(name, told) for name in ("take up", "monitor", "table", "guard", "save")]
    callbacks = callbacks_in_order("same weights", recluster, *others)
    return recluster, others, callbacks, told


def test_the_same_weights_and_the_clustering_come_first_and_saving_last(in_order):
    recluster, (restore_state, monitor, table, _, save), callbacks, _ = in_order
    assert callbacks == ["same weights", recluster, restore_state, monitor, table, save]


def test_an_epoch_gets_its_state_is_told_judged_and_saved_in_this_order(in_order):
    recluster, others, _, told = in_order
    recluster.on_epoch_begin(0)
    names = ["take up", "monitor", "guard", "table", "save"]
    assert told == [(name, 0, False) for name in names]


def test_all_are_told_of_an_epoch_that_is_taken_up(in_order):
    recluster, others, _, told = in_order
    recluster.restore(turn_of([0, 1, 2] * 4, epoch=3))
    recluster.on_epoch_begin(3)
    recluster.on_epoch_begin(4)
    assert len(told) == 2 * len(others)
    assert all(taken_up == (epoch == 3) for _, epoch, taken_up in told)


def test_files_hold_the_numbers_that_are_shown_and_stand_ins_what_is_learned(tmp_path):
    class Source:
        def set_clusters(self, clusters):
            self.clusters = clusters

    run, source = RunDirectory(tmp_path), Source()
    turn = turn_of([0, 1, 2, 0], epoch=6, numbers=np.array([2, 0, 1], "int32"))
    record_clusters(turn, run, source)
    assert np.load(run.assignments / "epoch-0007.npy").tolist() == [2, 0, 1, 2]
    assert source.clusters.tolist() == [0, 1, 2, 0]
