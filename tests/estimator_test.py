"""DeepCluster in the manner of scikit-learn: the programs' own results, in the order given."""

import csv
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn.utils.estimator_checks as checks
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import textures
from dc_keras.errors import InputError
from dc_keras.estimator import DeepCluster
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.assigned_images import write_clusters
from finished_run import finished_run

TINY = {
    "preset": None,
    "num_clusters": 4,
    "image_size": 32,
    "width": 0.0625,
    "epochs": 1,
    "batch_size": 8,
    "flags": {"fc_init": "scaled", "pca_dim": 8, "fit": "crop_large"},
}


@pytest.fixture(scope="module")
def images():
    return textures.textures(4)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "images"
    textures.write_folders(folder, *images)
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    """In another order than a folder is listed in, one twice, one that is no image."""
    found = sorted(str(path) for path in folder.rglob("*.png"))[::-1]
    broken = folder.parent / "broken.png"
    broken.write_bytes(b"no image")
    return [*found[:7], str(broken), *found[7:], found[0]]


@pytest.fixture(scope="module")
def fitted(paths):
    return (
        DeepCluster(
            **TINY,
            verbose=True,
        )
        .set_params(flags=TINY["flags"] | {"max_bad_fraction": 0.5})
        .fit(paths)
    )


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory):
    """A finished run, opened."""
    run = tmp_path_factory.mktemp("runs") / "run"
    finished_run(run, folder)
    return DeepCluster.load(run)


def test_labels_are_in_the_order_of_the_paths(fitted, paths):
    assert fitted.names_ == tuple(paths) and fitted.labels_.shape == (len(paths),)
    assert fitted.labels_[7] == -1 and (np.delete(fitted.labels_, 7) >= 0).all()
    assert fitted.labels_[0] == fitted.labels_[-1]
    assert fitted.cluster_centers_.shape == (4, 8)
    agreeing = fitted.predict(paths) == fitted.labels_
    # The repair of an empty cluster moves points that a nearest-centroid search may put back.
    assert agreeing[7] and agreeing.mean() > 0.9


def test_the_command_says_the_same_to_the_bit(loaded, folder, tmp_path):
    found = loaded.assign(folder)
    out = tmp_path / "clusters.csv"
    write_clusters(str(loaded.run_.path), str(folder), str(out), max_bad_fraction=0)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["path"] for row in rows) == found.names
    assert [int(row["cluster"]) for row in rows] == found.clusters[:, 0].tolist()
    for name, values in (
        ("distance", found.distances[:, 0]),
        ("margin", found.margins),
        ("distance_2", found.distances[:, 1]),
        ("distance_3", found.distances[:, 2]),
    ):
        told = np.array([row[name] for row in rows], np.float32)
        np.testing.assert_array_equal(told, values)
    assert [row["outlier"] == "yes" for row in rows] == found.outliers.tolist()


def test_arrays_and_files_of_the_same_pixels(loaded, images, folder):
    names = loaded.assign(folder).names
    order = [int(name.rpartition("/")[2].removesuffix(".png")) for name in names]
    of_array = loaded.assign(images[0][order])
    of_files = loaded.assign([folder / name for name in names])
    np.testing.assert_array_equal(of_array.clusters, of_files.clusters)
    np.testing.assert_array_equal(of_array.distances, of_files.distances)
    np.testing.assert_array_equal(loaded.transform(folder), loaded.transform(images[0][order]))


def test_what_cannot_be_read_keeps_its_place(loaded, paths):
    found = loaded.assign(paths)
    assert found.names == tuple(paths) and list(found.unreadable) == [paths[7]]
    assert found.clusters[7].tolist() == [-1, -1, -1] and np.isnan(found.distances[7]).all()
    assert not found.outliers[7] and np.isnan(found.margins[7])
    embedded = loaded.transform(paths)
    assert np.isnan(embedded[7]).all()
    np.testing.assert_allclose(np.linalg.norm(np.delete(embedded, 7, 0), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(embedded[0], embedded[-1])


def test_nothing_that_can_be_read(loaded, paths):
    with pytest.raises(InputError, match="cannot be read"):
        loaded.predict([paths[7]])
    with pytest.raises(InputError, match="not there"):
        loaded.predict("no/such/folder")


def test_a_saved_model_answers_the_same(fitted, images, tmp_path):
    fitted.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "checkpoints").exists()
    again = DeepCluster.load(tmp_path / "saved")
    assert again.get_params()["num_clusters"] == 4 and again.get_params()["width"] == 0.0625
    np.testing.assert_array_equal(again.transform(images[0]), fitted.transform(images[0]))
    with pytest.raises(InputError, match="There is something already"):
        fitted.save(tmp_path / "saved")


def test_a_fitted_object_is_not_pickled(fitted):
    with pytest.raises(TypeError, match="not pickled.*save.folder."):
        pickle.dumps(fitted)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "run_")
    assert pickle.loads(pickle.dumps(clone(fitted))).get_params() == fitted.get_params()


@pytest.mark.parametrize("method", ["predict", "transform", "assign", "save"])
def test_an_object_that_is_not_fitted(method, images):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(DeepCluster(), method)(images[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clusters": 1}, "--num_clusters"),
        ({"num_clusters": 100}, "fewer images than clusters"),
        ({"preset": "none"}, "no such preset"),
        ({"flags": {"colour": 1}}, "colour"),
        ({"mode": "best"}, "mode"),
        ({"image_size": 30}, "multiple of 32"),
    ],
)
def test_parameters_that_do_not_do(images, changes, message):
    model = DeepCluster(**TINY | changes)
    with pytest.raises(InputError, match=message):
        model.fit(images[0])
    assert not hasattr(model, "run_")


def test_arrays_that_do_not_do(images):
    with pytest.raises(InputError, match="another type. Received: float"):
        DeepCluster(**TINY).fit(images[0] / 255)


def test_a_run_that_is_not_finished(tmp_path):
    with pytest.raises(InputError, match="no run in this folder"):
        DeepCluster.load(tmp_path)


# Of scikit-learn's own checks, those of what an estimator is.
@pytest.mark.parametrize(
    "check",
    [
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_estimators_unfitted,
        checks.check_get_params_invariance,
        checks.check_mixin_order,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_set_params,
        checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_scikit_learn(check):
    check("DeepCluster", DeepCluster())


STOPPED = """
import os, signal, sys, threading, time
import numpy as np
from dc_keras import DeepCluster

images, run = np.load(sys.argv[1])["images"], sys.argv[2]
model = DeepCluster(
    preset=None, num_clusters=4, image_size=32, width=0.0625, epochs=500, batch_size=8,
    run_dir=run, flags={"fc_init": "scaled", "pca_dim": 8, "fit": "crop_large"},
)

def stop():
    while not os.path.isdir(f"{run}/checkpoints/epoch-0002"):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=stop, daemon=True).start()
try:
    model.fit(images)
    print("not stopped")
except KeyboardInterrupt:
    print("stopped", len(model.labels_), (model.predict(images) == model.labels_).mean() > 0.8)
"""


@pytest.mark.slow
@pytest.mark.long
def test_an_object_whose_fit_was_stopped_can_be_used(images, tmp_path):
    np.savez(tmp_path / "images.npz", images=images[0])
    arguments = [sys.executable, "-c", STOPPED, tmp_path / "images.npz", tmp_path / "run"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["stopped", str(len(images[0])), "True"], done.stderr
    # And can go on: its settings are the ones of the whole training.
    run = RunDirectory(tmp_path / "run")
    assert run.config().epochs == 500 and len(run.newest_checkpoints()) > 0
