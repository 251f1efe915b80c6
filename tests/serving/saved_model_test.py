"""The exported model, and the files of a model that mean harm."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.preprocessing import NO_IMAGE, preprocess_for_clustering
from dc_keras.models.deepcluster import feature_model, load_network
from dc_keras.models.vgg import build_vgg16
from dc_keras.serving.saved_model import DAMAGED, EMPTY, feature_archive


@pytest.fixture(scope="module")
def features():
    return feature_model(build_vgg16(32, 4, width=1 / 16, scaled_fc_init=True), "fc7")


@pytest.fixture(scope="module")
def serve(features, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("export") / "1")
    feature_archive(features, 32).write_out(folder, verbose=False)
    return tf.saved_model.load(folder).signatures["serving_default"]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    pixels = [rng.integers(0, 256, (40 + i, 50, 3), np.uint8) for i in range(4)]
    return [tf.io.encode_png(image).numpy() for image in pixels]


def answer(serve, encoded):
    """Features and reasons; one row at least is asked for by itself."""
    found = serve(image_bytes=tf.constant(encoded, tf.string, [len(encoded)]))
    return found["features"].numpy(), [text.decode() for text in found["status"].numpy()]


def test_good_images_have_an_empty_status(serve, features, images):
    served, status = answer(serve, images)
    assert status == [""] * 4
    crops = tf.stack([preprocess_for_clustering(tf.constant(image), 32) for image in images])
    expected = features(crops, training=False).numpy()
    # Float32 sums in another order.
    np.testing.assert_allclose(served, expected, atol=1e-5 * np.abs(expected).max())


def test_a_bad_image_does_no_harm_to_its_batch(serve, images):
    bad = [b"", b"no image", images[0][:200], b"\xff\xd8\xff\xe0 not a JPEG"]
    mixed = [image for pair in zip(images, bad, strict=True) for image in pair]
    served, status = answer(serve, mixed)
    assert status == ["", EMPTY, "", NO_IMAGE, "", DAMAGED, "", DAMAGED]
    assert not served[1::2].any()
    # The same batch with other good images in the bad ones' places: not a bit differs.
    others = [image for pair in zip(images, images[::-1], strict=True) for image in pair]
    np.testing.assert_array_equal(served[::2], answer(serve, others)[0][::2])


@pytest.mark.parametrize("batch", [[], [b"bad"], [b"bad"] * 3])
def test_batches_without_a_good_image(serve, batch):
    served, status = answer(serve, batch)
    assert served.shape == (len(batch), 256) and not served.any()
    assert status == [NO_IMAGE] * len(batch)


# What a Lambda layer of a hostile file holds: marshalled code that makes a file.
def hostile_network(path, mark):
    touch = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    layer = keras.layers.Lambda(eval(f"lambda x: ({touch}, x)[1]"))
    keras.Sequential([keras.Input([4]), layer]).save(path)
    mark.unlink(missing_ok=True)


def test_code_in_a_model_file_is_never_executed(tmp_path):
    mark = tmp_path / "executed"
    hostile_network(tmp_path / "hostile.keras", mark)
    with pytest.raises(Exception, match="(?i)lambda"):
        load_network(tmp_path / "hostile.keras")
    assert not mark.exists()
    loaded = keras.saving.load_model(tmp_path / "hostile.keras", safe_mode=False)
    loaded(np.zeros((1, 4), np.float32))
    assert mark.exists(), "the file would have been harmful"


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen")]
)
def test_a_model_file_cannot_name_functions_of_other_modules(tmp_path, module, name):
    build_vgg16(32, 4, width=1 / 16).save(tmp_path / "good.keras")
    mark = tmp_path / "executed"
    calls = {
        "class_name": "function",
        "module": module,
        "config": name,
        "registered_name": name,
    }
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for member in good.namelist():
            data = good.read(member)
            if member == "config.json":
                config = json.loads(data)
                (sobel,) = [
                    layer for layer in config["config"]["layers"] if layer["class_name"] == "Lambda"
                ]
                sobel["config"]["function"] = calls
                sobel["config"]["arguments"] = {"command": f"touch {mark}"}
                data = json.dumps(config).encode()
            bad.writestr(member, data)
    load_network(tmp_path / "good.keras")
    with pytest.raises((TypeError, ValueError)):
        network = load_network(tmp_path / "bad.keras")
        network(np.zeros((1, 32, 32, 3), np.uint8))
    assert not mark.exists()


def test_pickles_in_weights_are_refused(tmp_path):
    from dc_keras.clustering.whitening import Whitening

    file = io.BytesIO()
    np.savez(file, mean=np.array([object()], object))
    (tmp_path / "whitening.npz").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Whitening.load(tmp_path / "whitening.npz")
