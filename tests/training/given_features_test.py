"""Runs of features that need no training: what they hold, and what other programs make of them."""

import csv

import keras
import numpy as np
import pytest

import textures
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import ClusterConfig, EvaluationConfig
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.evaluation.text import to_markdown
from dc_keras.exploring.exploration import explore
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model
from dc_keras.serving.model_card import model_card
from dc_keras.serving.run_model import model_of_run
from dc_keras.training.given_features import cluster, describe_whitening
from tiny import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of 24 textures, with one file that is no image."""
    folder = tmp_path_factory.mktemp("textures")
    textures.write_folders(folder, *textures.textures(6))
    (folder / "fine" / "broken.png").write_text("no picture")
    return folder


def settings(folder, run_dir, *flags):
    given = [f"--data_dir={folder}", f"--run_dir={run_dir}", "--max_bad_fraction=0.5", *flags]
    config = ClusterConfig.from_arguments(given)
    config.validate()
    return config


def features_of_names(names):
    """Features that tell the four classes, and each image from the others."""
    classes = sorted({name.split("/")[0] for name in names})
    rng = np.random.default_rng(5)
    one_hot = np.eye(4)[[classes.index(name.split("/")[0]) for name in names]]
    return (one_hot + rng.normal(0, 0.05, (len(names), 4))).astype(np.float32)


@pytest.fixture(scope="module")
def given(folder, tmp_path_factory):
    """A run of given features, with these by name; one image has none, one is broken."""
    place = tmp_path_factory.mktemp("given")
    names = list(open_source(str(folder)).names)
    lacking = next(name for name in names if name.startswith("weave/"))
    names = [name for name in reversed(names) if name != lacking]
    features = features_of_names(names)
    np.savez(place / "f.npz", features=features, paths=np.array(names))
    flags = [f"--embeddings={place}/f.npz", "--num_clusters=4", "--seed=3"]
    run = cluster(settings(folder, place / "run", *flags))
    return run, dict(zip(names, features, strict=True))


def test_features_lie_beside_the_images_they_are_of(given):
    run, by_name = given
    names = read_manifest(run.manifest).names
    model = load_model(run)
    assert len(names) == 23 and "fine/broken.png" not in names
    assert model.network is None and isinstance(model.features, np.memmap)
    np.testing.assert_array_equal(model.features, [by_name[name] for name in names])
    assert "fine/broken.png" in run.unreadable.read_text()
    assert load_given(run).told == "4 values of each image"


def test_clusters_of_features_that_tell_classes_are_the_classes(given):
    run, _ = given
    with open(run.model / "clusters.csv", newline="") as file:
        found = {(row["path"].split("/")[0], row["cluster"]) for row in csv.DictReader(file)}
    assert len(found) == 4
    assert "NMI with the labels 1.000" in run.log_file.read_text()


def test_an_exploration_takes_descriptors_from_the_features(given):
    run, by_name = given
    explored = explore(str(run.path))
    model = load_model(run)
    expected = model.whitening.apply(np.array([by_name[path] for path in explored.found.paths]))
    np.testing.assert_array_equal(explored.descriptors, expected)
    assert explored.sizes.tolist() == [[32, 32]] * 23
    # The nearest image is of the same class, as the features have it.
    nearest = explored.found.nearest[:, 0]
    classes = [path.split("/")[0] for path in explored.found.paths]
    assert all(classes[a] == classes[b] for a, b in enumerate(nearest))


def test_no_training_goes_on_from_it_and_it_has_no_weights(given, folder):
    run, _ = given
    with pytest.raises(InputError, match="from which no training can go on"):
        run.check(tiny(folder, run.path))
    with pytest.raises(InputError, match="The run was not trained"):
        run.load_weights(keras.Sequential())
    with pytest.raises(InputError, match="The run has no network"):
        model_of_run(run)


def test_it_is_evaluated_beside_another_run(given, folder, tmp_path):
    run, by_name = given
    np.savez(
        tmp_path / "poor.npz",
        features=np.random.default_rng(1).normal(size=(len(by_name), 3)),
        paths=np.array([*by_name]),
    )
    flags = [f"--embeddings={tmp_path}/poor.npz", "--num_clusters=4", "--labels=none"]
    poor = cluster(settings(folder, tmp_path / "poor", *flags))
    flags = [f"--run_dir={run.path}", f"--baseline=random,{poor.path}", f"--out={tmp_path}/out"]
    report = evaluate(EvaluationConfig.from_arguments([*flags, "--test_fraction=0.3"]))
    assert list(report.rows) == ["given", "poor"]
    assert report.rows["given"]["knn_fc7"] == report.rows["given"]["nmi"] == 1
    assert report.rows["poor"]["nmi"] < 0.9
    assert "The row given is 4 values of each image" in to_markdown(report)


def test_other_images_than_those_with_features_are_not_judged(given, folder, tmp_path):
    run, _ = given
    textures.write_folders(tmp_path / "others", *textures.textures(3, seed=9), names=list("abcd"))
    flags = [f"--run_dir={run.path}", f"--data_dir={tmp_path}/others", f"--out={tmp_path}"]
    with pytest.raises(InputError, match="Features were given of some images alone"):
        evaluate(EvaluationConfig.from_arguments(flags))


def test_damaged_features_are_noticed(folder, tmp_path):
    np.save(tmp_path / "f.npy", features_of_names(sorted(open_source(str(folder)).names)))
    run = cluster(settings(folder, tmp_path / "run", f"--embeddings={tmp_path}/f.npy"))
    assert run.config().num_clusters == 10  # of 25 images, where none is given
    path = run.model / "features.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="features.npy differs from its .*dc-keras cluster"):
        load_model(run)


def test_a_folder_that_holds_a_run_is_left_alone(given, folder, tmp_path):
    run, _ = given
    with pytest.raises(InputError, match="The run directory is taken. .* which is a run"):
        cluster(settings(folder, run.path, "--embeddings=missing.npy"))
    np.save(tmp_path / "f.npy", np.zeros((25, 3)))
    with pytest.raises(InputError, match="features of all images are alike"):
        cluster(settings(folder, tmp_path / "run", f"--embeddings={tmp_path}/f.npy"))
    # What failed is no run, and may be tried again.
    assert not RunDirectory(tmp_path / "run").exists()
    np.save(tmp_path / "f.npy", np.random.default_rng(0).normal(size=(25, 3)))
    cluster(settings(folder, tmp_path / "run", f"--embeddings={tmp_path}/f.npy"))


def by_network(folder, tmp_path):
    """A run of a given network."""
    images = keras.Input((None, None, 3))
    pooled = keras.layers.AveragePooling2D(4)(images)
    keras.Model(images, pooled).save(tmp_path / "n.keras")
    flags = [f"--network={tmp_path}/n.keras", "--pixels=0..1", "--image_size=24", "--fit=squash"]
    return cluster(settings(folder, tmp_path / "run", *flags, "--num_clusters=3", "--whiten"))


def test_more_whitened_directions_than_images_can_tell_are_told():
    features = np.random.default_rng(0).normal(size=(100, 20)).astype(np.float32)
    whitening = fit_whitening(features, 20)
    (told,) = describe_whitening(whitening, 100, whitened=True)
    assert told.startswith("Whitened, 20 directions of 100 images") and "--pca_dim to 12," in told
    assert describe_whitening(whitening, 100, whitened=False) == []
    assert describe_whitening(whitening, 160, whitened=True) == []


@pytest.mark.slow
@pytest.mark.long
def test_a_given_network_is_evaluated(folder, tmp_path):
    run = by_network(folder, tmp_path)
    flags = [f"--run_dir={run.path}", f"--out={tmp_path}/out", "--test_fraction=0.4"]
    report = evaluate(EvaluationConfig.from_arguments(flags))
    assert set(report.rows) == {"given"} and "probe_fc7" in report.rows["given"]


def test_a_given_network_is_that_of_the_run(folder, tmp_path):
    run = by_network(folder, tmp_path)
    model, config = load_model(run), run.config()
    assert (config.image_size, config.fit, config.whiten) == (24, "squash", True)
    assert model.features is None and model.feature_network().input_shape == (None, 24, 24, 3)
    # What is exported answers by it, and its card tells what it is.
    served = model_of_run(run)
    card = model_card(run, served, ("assign",), onnx=False)
    assert f"by a network that was given, `{tmp_path}/n.keras`: 3 values, the mean over" in card
    explored = explore(str(run.path))
    # The clusters of the file are those that its network gives.
    away = np.linalg.norm(explored.descriptors[:, None] - model.centroids, axis=-1)
    np.testing.assert_array_equal(away.argmin(1), explored.found.clusters)


def test_a_network_that_tells_nothing_of_the_images_is_refused(folder, tmp_path):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(0.0)]).save(
        tmp_path / "n.keras"
    )
    flags = [f"--network={tmp_path}/n.keras", "--num_clusters=3"]
    with pytest.raises(InputError, match="Are --pixels and --layer what it needs"):
        cluster(settings(folder, tmp_path / "run", *flags))
