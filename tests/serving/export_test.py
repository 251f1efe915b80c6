"""A run as an exported model, which a process without this package serves."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import textures
from dc_keras.assembly import build_untrained
from dc_keras.errors import InputError
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.export import export, next_version
from dc_keras.serving.serve_check import serve_check
from finished_run import finished_run
from tiny import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on images in class folders, and its exported model."""
    folder = tmp_path_factory.mktemp("finished")
    textures.write_folders(folder / "images", *textures.textures(4))
    finished_run(folder / "run", folder / "images")
    version = export(str(folder / "run"), str(folder / "out"), names=("a", "", "c"))
    return folder / "run", version


@pytest.mark.slow
def test_a_clean_process_answers_as_the_run_does(finished):
    run, version = finished
    compared = serve_check(str(version.parent))
    assert {comparison.output for comparison in compared} >= {
        "serving_default/features",
        "embedding/embedding",
        "assign/cluster",
        "assign/distance",
        "assign/top_distances",
    }
    assert all(comparison.same_bits for comparison in compared)


def test_what_is_beside_the_model(finished):
    run, version = finished
    card = (version / "model_card.md").read_text()
    assert "16 images of `" in card and "4 classes" in card and "| `assign` |" in card
    assert "--width=0.0625" in card and "--run_dir" not in card
    told = json.loads((version / "assets.extra" / "export.json").read_text())
    assert told == {"format": 1, "run": str(run), "layers": []}


@pytest.mark.slow
def test_requests_to_warm_up_are_answered(finished):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    _, version = finished
    signatures = tf.saved_model.load(str(version)).signatures
    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    asked = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = logs.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        (count,) = {len(values) for values in inputs.values()}
        asked.append((request.model_spec.signature_name, count))
        if count == 1:
            answer = signatures[asked[-1][0]](**{k: tf.constant(v) for k, v in inputs.items()})
            assert answer["status"].numpy().tolist() == [b""]
    assert asked == [(name, size) for name in sorted_as_served(signatures) for size in (32, 8, 1)]


def sorted_as_served(signatures):
    order = ["serving_default", "features_uint8", "embedding", "assign"]
    return [name for name in order if name in signatures]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run whose checkpoint has the weights that it started from, and its settings."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny("images", folder, "--precision=mixed_bfloat16")
    folder.mkdir()
    config.save(RunDirectory(folder).flags)
    RunDirectory(folder).save_weights(build_untrained(config), epoch=1)
    return folder, config


def test_features_are_float32_whatever_the_run_was_trained_in(unfinished, tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("an optimizer was made")

    monkeypatch.setattr(CoupledSGD, "__init__", refuse)
    folder, config = unfinished
    version = export(str(folder), str(tmp_path / "exported"))
    assert version == tmp_path / "exported" / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"serving_default", "features_uint8"}
    images = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), np.uint8)
    served = signatures["features_uint8"](images=tf.constant(images))["features"]
    network = build_untrained(dataclasses.replace(config, precision="float32"))
    expected = feature_model(network, FEATURES)(images, training=False).numpy()
    # Float32 sums in another order.
    np.testing.assert_allclose(served, expected, atol=1e-5 * np.abs(expected).max())


def test_an_output_that_is_a_file_is_refused(unfinished, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="The output is a file"):
        export(str(unfinished[0]), str(tmp_path / "file"))


@pytest.mark.parametrize("target", ["/dev/null", "file"])
def test_an_output_that_leads_to_no_folder_is_refused(unfinished, tmp_path, target):
    (tmp_path / "file").touch()
    (tmp_path / "out").symlink_to(target)
    with pytest.raises(InputError, match="The output is a (device|file). .*, which leads to"):
        export(str(unfinished[0]), str(tmp_path / "out"))


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    tiny("images", tmp_path / "run").save(RunDirectory(tmp_path / "run").flags)
    with pytest.raises(InputError, match="no checkpoint yet"):
        export(str(tmp_path / "run"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("taken", "expected"), [([], "1"), (["1", "2"], "3"), (["7"], "8"), (["9", "10", "old"], "11")]
)
def test_versions_are_numbered(tmp_path, taken, expected):
    for name in taken:
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == tmp_path / expected
