"""Whole runs in this process: learning, labels, resuming, degenerate data."""

import csv
import dataclasses
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

import textures
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.errors import DegenerateDataError, InputError
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.models.deepcluster import feature_model, load_network
from dc_keras.serving.saved_model import export
from dc_keras.training.recluster import cluster_images
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import train

TINY = (
    "--image_size=32 --width=0.0625 --fc_init=scaled --num_clusters=6 --pca_dim=16 --epochs=2 "
    "--batch_size=16 --crop_min_area=0.5"
).split()


def tiny(data_dir, run_dir, *more):
    config = TrainingConfig.from_arguments(
        [*TINY, f"--data_dir={data_dir}", f"--run_dir={run_dir}", *more]
    )
    config.validate()
    return config


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "textures.npz"
    images, labels = textures.textures(16)
    np.savez(path, images=images, labels=labels)
    return path


def assignments(run):
    paths = sorted(run.assignments.iterdir())
    return {path.name: np.load(path) for path in paths}


def assert_same_assignments(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_it_learns_textures(tmp_path):
    """NMI with the classes rises clearly above that of the random network it starts from.

    With 12 clusters for 4 classes the highest possible NMI is sqrt(ln 4 / ln 12) = 0.75. Seen with
    five seeds: 0.20-0.28 at the start, 0.50-0.63 from the second epoch on.
    """
    images, labels = textures.textures(128)
    np.savez(tmp_path / "textures.npz", images=images, labels=labels)
    run = train(
        tiny(
            tmp_path / "textures.npz",
            tmp_path / "run",
            "--width=0.125",
            "--num_clusters=12",
            "--pca_dim=32",
            "--epochs=6",
            "--batch_size=32",
            "--hflip=false",
        )
    )
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


def test_a_run_goes_on_where_it_was_stopped(tmp_path, npz):
    """Same end as without the stop, up to the order of sums in TensorFlow's threads."""
    whole = train(tiny(npz, tmp_path / "whole", "--epochs=3"))
    train(tiny(npz, tmp_path / "halves", "--epochs=1"))
    halves = train(tiny(npz, tmp_path / "halves", "--epochs=3"))
    assert_same_assignments(assignments(whole), assignments(halves))
    for a, b in zip(whole.read_metrics(), halves.read_metrics(), strict=True):
        assert a["epoch"] == b["epoch"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["cluster"] == pytest.approx(b["cluster"], abs=1e-4)


@pytest.mark.parametrize(
    "precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_a_run_in_mixed_precision(tmp_path, npz, precision):
    """It goes on with the same bits, and ends in files that take and give what others do."""
    flags = [f"--precision={precision}", "--deterministic"]
    whole = train(tiny(npz, tmp_path / "whole", *flags))
    train(tiny(npz, tmp_path / "parts", *flags, "--epochs=1"))
    parts = train(tiny(npz, tmp_path / "parts", *flags))
    last = "checkpoints/epoch-0002/SHA256SUMS"
    sums = [
        [line for line in (run.path / last).read_text().splitlines() if "state.json" not in line]
        for run in (whole, parts)
    ]
    assert sums[0] == sums[1]

    network = load_network(whole.model / "network.keras")
    with np.load(npz) as arrays:
        images = arrays["images"]
    assert network(images, training=False).dtype == "float32"
    exported = tf.saved_model.load(export(whole.path, str(tmp_path / "exported")))
    features = exported.signatures["features_uint8"](images=tf.constant(images))["features"]
    own = feature_model(network, "fc7")(images, training=False)
    assert own.dtype == precision[6:] and features.dtype == tf.float32
    difference = np.abs(features - np.asarray(own, "float32")).max()
    assert 0 < difference < 0.05 * np.abs(features).max()  # 8 significant bits over 15 layers


def test_warm_starts_and_weights_go_on_where_they_were_stopped(tmp_path, npz, monkeypatch):
    started_from = []

    def spy(*arguments, previous, **keywords):
        started_from.append(previous)
        return cluster_images(*arguments, previous=previous, **keywords)

    monkeypatch.setattr("dc_keras.training.train.cluster_images", spy)
    flags = ["--kmeans_warm_start", "--kmeans_init=kmeans++", "--sampler=reweight"]
    whole = train(tiny(npz, tmp_path / "whole", *flags))
    train(tiny(npz, tmp_path / "halves", *flags, "--epochs=1"))
    halves = train(tiny(npz, tmp_path / "halves", *flags))
    assert_same_assignments(assignments(whole), assignments(halves))
    assert whole.read_metrics()[1]["loss"] == pytest.approx(
        halves.read_metrics()[1]["loss"], abs=1e-4
    )
    # Clusterings of the whole run, those of the first half with its last one, of the second half.
    first, second = assignments(whole).values()
    for previous, expected in zip(
        started_from, [None, first, second, None, first, first, second], strict=True
    ):
        np.testing.assert_array_equal(previous, expected)


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


def test_an_epoch_taken_up_in_its_middle_is_told_once(tmp_path, npz, capsys):
    """64 images in batches of 16: four steps, each saved because of the time."""
    flags = ["--epochs=1", "--checkpoint_every_minutes=1e-9", "--keep_checkpoints=9"]
    whole = train(tiny(npz, tmp_path / "run", *flags))
    names = [path.name for path in whole.newest_checkpoints()]
    assert names == ["epoch-0001", *(f"epoch-0001-step-00000{step}" for step in (3, 2, 1))]
    first, told = whole.read_metrics(), pictures_and_scalars(whole)
    assert "Clustering 1: 6 clusters" in capsys.readouterr().out
    resume = f"--resume={whole.checkpoints}/epoch-0001-step-000002"
    again = train(tiny(npz, whole.path, "--epochs=1", "--checkpoint_every_steps=3", resume))
    assert [path.name for path in again.newest_checkpoints()] == names[:3]
    printed = capsys.readouterr().out
    assert "Going on after step 2 of epoch 1" in printed and "Clustering" not in printed
    (record,) = again.read_metrics()
    assert record["cluster"] == first[0]["cluster"]
    assert record["loss"] == pytest.approx(first[0]["loss"], abs=1e-4)
    assert pictures_and_scalars(again) == told


def pictures_and_scalars(run):
    """What TensorBoard is told: tags and steps, each as often as it is told."""
    return sorted(
        (value.tag, event.step)
        for path in run.tensorboard.iterdir()
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


@pytest.mark.parametrize(("churn", "clusterings"), [(0.999, 1), (1e-9, 4)])
def test_clustering_when_needed(tmp_path, npz, capsys, churn, clusterings):
    run = train(tiny(npz, tmp_path / "run", "--epochs=4", f"--reassign_churn={churn}"))
    assert len(assignments(run)) == clusterings
    records = run.read_metrics()
    assert "estimated_churn" not in records[0]["cluster"]
    assert all(0 <= record["cluster"]["estimated_churn"] <= 1 for record in records[1:])
    assert capsys.readouterr().out.count("left out") == 4 - clusterings


def test_power_iteration_clustering_and_the_released_sampler(tmp_path, npz):
    """The number of clusters is found; the head has room for more, and images can be assigned."""
    flags = ["--clustering=pic", "--sampler=released", "--num_clusters=30"]
    run = train(tiny(npz, tmp_path / "run", *flags))
    for record, made in zip(run.read_metrics(), assignments(run).values(), strict=True):
        assert 2 <= record["cluster"]["clusters"] == made.max() + 1 < 30
        assert record["cluster"]["empty"] == 0 and "pic" in record["seconds"]
        assert np.isfinite(record["loss"])
    centroids = np.load(run.model / "centroids.npy")
    rows = (run.model / "clusters.csv").read_text().splitlines()[1:]
    assert {int(row.split(",")[-1]) for row in rows} == set(range(len(centroids)))


def test_a_run_starts_from_a_named_checkpoint(tmp_path, npz, capsys):
    first = train(tiny(npz, tmp_path / "first"))
    checkpoint = first.checkpoints / "epoch-0001"
    other = train(tiny(npz, tmp_path / "other", f"--resume={checkpoint}"))
    assert f"Going on after epoch 1 from {checkpoint}" in capsys.readouterr().out
    assert [record["epoch"] for record in other.read_metrics()] == [2]
    np.testing.assert_array_equal(
        np.load(other.assignments / "epoch-0002.npy"),
        np.load(first.assignments / "epoch-0002.npy"),
    )


def test_a_checkpoint_never_replaces_another_run(tmp_path, npz):
    first = train(tiny(npz, tmp_path / "first", "--epochs=1"))
    second = train(tiny(npz, tmp_path / "second", "--epochs=1"))
    with pytest.raises(InputError, match="already holds a run, which a checkpoint of another"):
        train(tiny(npz, second.path, f"--resume={first.checkpoints}/epoch-0001"))
    # A checkpoint of its own is fine.
    train(tiny(npz, second.path, f"--resume={second.checkpoints}/epoch-0001"))


def test_damaged_checkpoints_are_not_thrown_away(tmp_path, npz):
    run = train(tiny(npz, tmp_path / "run", "--epochs=1"))
    weights = run.checkpoints / "epoch-0001" / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="No checkpoint of the run can be read"):
        train(tiny(npz, tmp_path / "run", "--epochs=2"))
    assert weights.exists()


def test_a_checkpoint_that_is_none(tmp_path, npz):
    with pytest.raises(InputError, match="no checkpoint in this folder"):
        train(tiny(npz, tmp_path / "run", f"--resume={tmp_path}"))


@pytest.mark.parametrize(
    ("reassign", "clusterings"), [("0.5", [1, 2, 3, 4]), ("2", [1]), ("1", [1, 2])]
)
def test_fractions_and_multiples_of_epochs(tmp_path, npz, reassign, clusterings):
    run = train(tiny(npz, tmp_path / "run", f"--reassign={reassign}"))
    assert sorted(assignments(run)) == [f"epoch-{epoch:04d}.npy" for epoch in clusterings]
    clustered = [record["epoch"] for record in run.read_metrics() if record["cluster"]]
    assert clustered == clusterings


def test_two_mirrored_replicas(tmp_path, npz, two_devices):
    run = train(tiny(npz, tmp_path / "run", "--strategy=mirrored", "--virtual_devices=2"))
    records = run.read_metrics()
    assert len(records) == 2 and all(np.isfinite(record["loss"]) for record in records)
    # Batch norm differs by replica, but the first clustering sees the same initial network.
    alone = train(tiny(npz, tmp_path / "alone", "--strategy=one"))
    np.testing.assert_array_equal(
        np.load(run.assignments / "epoch-0001.npy"), np.load(alone.assignments / "epoch-0001.npy")
    )


def test_photographs_of_any_size_without_labels(tmp_path, rng):
    for i in range(30):
        height, width = rng.integers(20, 90, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.jpg")
    run = train(tiny(tmp_path, tmp_path / "run", "--epochs=1", "--image_size=64"))
    record = run.read_metrics()[0]
    assert "nmi_labels" not in record["cluster"] and np.isfinite(record["loss"])


def test_constant_images_are_explained(tmp_path):
    np.savez(tmp_path / "blank.npz", images=np.full((40, 16, 16, 3), 77, "uint8"))
    with pytest.raises(DegenerateDataError, match="alike, so there is nothing to cluster"):
        train(tiny(tmp_path / "blank.npz", tmp_path / "run"))


def test_fewer_distinct_images_than_clusters(tmp_path, caplog):
    from absl import logging

    logging.get_absl_logger().propagate = True
    images, _ = textures.textures(1)
    np.savez(tmp_path / "copies.npz", images=np.repeat(images, 10, axis=0))
    with caplog.at_level("WARNING"):
        run = train(tiny(tmp_path / "copies.npz", tmp_path / "run"))
    assert "2 of 6 clusters stay empty" in caplog.text
    assert all(np.isfinite(record["loss"]) for record in run.read_metrics())


@pytest.mark.parametrize("clusters", ["--num_clusters=65", "--num_clusters=10000"])
def test_more_clusters_than_images_are_refused_before_anything_is_written(tmp_path, npz, clusters):
    with pytest.raises(InputError, match="64 images.*try --num_clusters=2"):
        train(tiny(npz, tmp_path / "run", clusters))
    assert not (tmp_path / "run").exists()


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="no/such"):
        train(tiny("no/such", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_batches_are_shared_out_evenly(tmp_path, npz, two_devices):
    config = dataclasses.replace(
        tiny(npz, tmp_path / "run"), batch_size=15, virtual_devices=2, strategy="mirrored"
    )
    with pytest.raises(InputError, match="--batch_size=15 for 2 replicas"):
        train(config)


def test_images_that_vanished_before_a_resume(tmp_path):
    images, labels = textures.textures(4)
    textures.write_folders(tmp_path / "images", images, labels)
    config = tiny(tmp_path / "images", tmp_path / "run", "--epochs=1")
    train(config)
    next((tmp_path / "images").rglob("*.png")).unlink()
    with pytest.raises(InputError, match=r"1 of 16 (?s:.*)not found when"):
        train(dataclasses.replace(config, epochs=2))


def test_the_run_directory_tells_all(tmp_path, npz):
    run = train(tiny(npz, tmp_path / "run"))
    assert {path.name for path in run.path.iterdir()} == {
        ".lock", "assignments", "checkpoints", "flags.cfg", "manifest.csv", "metrics.jsonl",
        "model", "tensorboard",
    }  # fmt: skip
    assert {path.name for path in run.model.iterdir()} == {
        "centroids.npy", "clusters.csv", "network.keras", "training.json", "whitening.npz",
    }  # fmt: skip
    assert RunDirectory(run.path).config().num_clusters == 6
    header, *rows = (run.model / "clusters.csv").read_text().splitlines()
    assert header == "index,path,cluster" and len(rows) == 64
    record = run.read_metrics()[1]
    assert set(record["seconds"]) == {"features", "pca", "kmeans", "train"}
    assert {"nmi_previous", "nmi_labels", "objective", "explained_variance"} <= set(
        record["cluster"]
    )


@pytest.mark.slow
def test_images_that_vanish_during_a_run_are_counted_and_the_run_goes_on(tmp_path, capsys):
    images, labels = textures.textures(16)
    textures.write_folders(tmp_path / "images", images, labels)
    flags = ["--max_bad_fraction=0.1", "--cache=off", "--epochs=4"]
    config = tiny(tmp_path / "images", tmp_path / "run", *flags)
    lost = sorted((tmp_path / "images").rglob("*.png"))[::13]
    assert len(lost) == 5
    run = RunDirectory(config.run_dir)

    def lose():
        while not run.metrics.exists():
            time.sleep(0.01)
        lost[0].write_bytes(b"no image any more")
        for path in lost[1:]:
            path.unlink()

    thread = threading.Thread(target=lose)
    thread.start()
    train(config)
    thread.join()
    names = {str(path.relative_to(tmp_path / "images")) for path in lost}
    with open(run.unreadable, newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == names
    assert "cannot be read any more: " in capsys.readouterr().err
    records = run.read_metrics()
    assert len(records) == 4 and records[-1]["images_gone"] == len(lost)
    assert "images_gone" not in records[0]
    # It goes on without them, too, and is evaluated.
    train(tiny(tmp_path / "images", tmp_path / "run", *flags[:2], "--epochs=5"))
    assert len(run.read_metrics()) == 5
    evaluation = EvaluationConfig.from_arguments([f"--run_dir={run.path}", "--baseline="])
    assert evaluate(evaluation).train_images + evaluate(evaluation).test_images == 64 - len(lost)
