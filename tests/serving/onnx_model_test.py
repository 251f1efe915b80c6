"""The model in the format of ONNX, run by a runtime without TensorFlow."""

import builtins

import numpy as np
import pytest

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.serving import onnx_model
from dc_keras.serving.cluster_model import Cells, ClusterModel
from dc_keras.serving.onnx_model import write_onnx


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (12, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model(images):
    options = NetworkOptions(image_size=32, width=0.0625, scaled_fc_init=True)
    features_of = feature_model(build_network(options, 5), FEATURES)
    features = np.asarray(features_of(images, training=False))
    whitening = fit_whitening(features, 6)
    return ClusterModel(features_of, Cells(whitening, whitening.apply(features[:5]), 0.8))


@pytest.mark.parametrize("count", [1, 12])
def test_the_runtime_answers_the_same(model, images, tmp_path, count):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    write_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    # Nothing that only this program knows.
    domains = {opset.domain for opset in loaded(tmp_path).opset_import}
    assert domains <= {"", "ai.onnx", "ai.onnx.ml"}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"images": images[:count]}), strict=True))
    nearest = model.compiled("nearest")(images[:count])
    np.testing.assert_array_equal(found["clusters"], nearest.clusters)
    np.testing.assert_array_equal(found["outliers"], nearest.outliers)
    # Float32 sums in another order.
    np.testing.assert_allclose(found["distances"], nearest.distances, atol=1e-4)
    np.testing.assert_allclose(found["margins"], nearest.margins, atol=1e-4)
    for name in ("features", "embedding"):
        expected = model.compiled(name)(images[:count]).numpy()
        np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(expected).max())


def loaded(folder):
    import onnx

    return onnx.load(folder / "model.onnx")


def test_without_tf2onnx(model, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **keywords):
        if name.startswith("tf2onnx"):
            raise ImportError("No module named 'tf2onnx'")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match="pip install -r requirements-serving.txt"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_network_that_is_too_large_to_convert(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_BYTES_A_WEIGHT", 1e9)
    with pytest.raises(InputError, match="too large to be converted here.*Leave --onnx out"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
