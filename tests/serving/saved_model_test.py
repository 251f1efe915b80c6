"""The exported model: what it answers, and how a run becomes one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.assembly import build_untrained
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.limits import MAX_PIXELS, NO_IMAGE
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.errors import InputError
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.saved_model import (
    EMPTY,
    damaged,
    export,
    feature_archive,
    next_version,
    read_if_possible,
)
from encoded_images import encode
from fresh_process import parts_loaded_with
from tiny import tiny


@pytest.fixture(scope="module")
def features():
    options = NetworkOptions(image_size=32, width=1 / 16, scaled_fc_init=True)
    return feature_model(build_vgg16(options, 4), FEATURES)


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


def test_images_are_served_with_what_the_run_read_them_with():
    values = np.full((8, 64), 290, np.uint16)
    values[:, :8] = 370
    encoded = tf.constant(encode(Image.fromarray(values), "PNG"))
    options = PixelOptions((290, 370), fit="squash")
    image, status = read_if_possible(encoded, 8, options)
    assert status.numpy() == b""
    # White of 370 and black of 290; antialiasing mixes them where they meet.
    assert image.numpy()[0, :, 0].tolist() == [219, 32] + [0] * 6
    refused, status = read_if_possible(encoded, 8, PixelOptions(max_pixels=8 * 64 - 1))
    assert status.numpy().decode() == damaged(511) and not refused.numpy().any()


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
    assert status == ["", EMPTY, "", NO_IMAGE, "", damaged(MAX_PIXELS), "", damaged(MAX_PIXELS)]
    assert not served[1::2].any()
    # The same batch with other good images in the bad ones' places: not a bit differs.
    others = [image for pair in zip(images, images[::-1], strict=True) for image in pair]
    np.testing.assert_array_equal(served[::2], answer(serve, others)[0][::2])


@pytest.mark.parametrize("batch", [[], [b"bad"], [b"bad"] * 3])
def test_batches_without_a_good_image(serve, batch):
    served, status = answer(serve, batch)
    assert served.shape == (len(batch), 256) and not served.any()
    assert status == [NO_IMAGE] * len(batch)


def test_pixels_are_cropped_as_files_are(features, tmp_path, rng):
    """The centre of pixels of any size, also in a batch of none."""
    feature_archive(features, 32).write_out(str(tmp_path / "1"), verbose=False)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["features_uint8"]
    pixels = rng.integers(0, 256, (2, 40, 50, 3), np.uint8)
    served = serve(images=tf.constant(pixels))["features"].numpy()
    encoded = [tf.io.encode_png(image) for image in pixels]
    crops = tf.stack([preprocess_for_clustering(image, 32) for image in encoded])
    expected = features(crops, training=False).numpy()
    # Float32 sums in another order.
    np.testing.assert_allclose(served, expected, atol=1e-5 * np.abs(expected).max())
    nothing = serve(images=tf.zeros((0, 40, 50, 3), tf.uint8))["features"]
    assert nothing.shape == (0, 256)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose checkpoint has the weights that it started from, and its settings."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny("images", folder, "--precision=mixed_bfloat16")
    folder.mkdir()
    config.save(RunDirectory(folder).flags)
    RunDirectory(folder).save_weights(build_untrained(config), epoch=1)
    return folder, config


def test_a_run_is_exported_in_float32_whatever_it_was_trained_in(run, images, tmp_path):
    folder, config = run
    version = export(str(folder), str(tmp_path / "exported"))
    assert version == tmp_path / "exported" / "1"
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    served, _ = answer(serve, images)
    network = build_untrained(dataclasses.replace(config, precision="float32"))
    crops = tf.stack([preprocess_for_clustering(tf.constant(image), 32) for image in images])
    expected = feature_model(network, FEATURES)(crops, training=False).numpy()
    # Float32 sums in another order.
    np.testing.assert_allclose(served, expected, atol=1e-5 * np.abs(expected).max())


def test_no_optimizer_is_made(run, tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("an optimizer was made")

    monkeypatch.setattr(CoupledSGD, "__init__", refuse)
    export(str(run[0]), str(tmp_path))


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.serving.saved_model")
    assert "serving" in loaded and "training" not in loaded


def test_an_output_that_is_a_file_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="The output is a file"):
        export(str(run[0]), str(tmp_path / "file"))


@pytest.mark.parametrize("target", ["/dev/null", "file"])
def test_an_output_that_leads_to_no_folder_is_refused(run, tmp_path, target):
    (tmp_path / "file").touch()
    (tmp_path / "out").symlink_to(target)
    with pytest.raises(InputError, match="The output is a (device|file). .*, which leads to"):
        export(str(run[0]), str(tmp_path / "out"))


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
