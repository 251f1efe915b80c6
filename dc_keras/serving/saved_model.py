"""The features of a trained network as a SavedModel that needs no Python.

Two signatures, both returning `features`, float32 `(n, d)`, through the preprocessing that
clustering uses:

    serving_default   image_bytes: string (n,), encoded images of any format the training reads;
                      returns also status: string (n,), empty where the image was read, else why not
    features_uint8    images: uint8 (n, h, w, 3)

An image that cannot be read does no harm to the others of its batch: its features are zeros, which
JSON can carry, and its status tells.
"""

import dataclasses
import os
import pathlib

import keras
import tensorflow as tf

from dc_keras.assembly import build_untrained, pixel_options
from dc_keras.data.pixels.center_crop import center_crop_batch, preprocess_for_clustering
from dc_keras.data.pixels.decoding import check_jpeg, has_known_start, is_upright_jpeg
from dc_keras.data.pixels.limits import MAX_SIDE, NO_IMAGE
from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.errors import InputError
from dc_keras.files import (
    check_output_folder,
    tensorflow_errors_as_os_errors,
    write_directory_atomically,
)
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.runs.run_directory import RunDirectory

EMPTY = "no bytes"


def damaged(max_pixels: int) -> str:
    """The answer in place of an image that starts like one."""
    return (
        f"damaged, cut off, of an unusual kind, without pixels, of more than {max_pixels:,} "
        f"pixels, or with a side of more than {MAX_SIDE:,}"
    )


def export(run_dir: str, out: str) -> pathlib.Path:
    """Writes the newest features of a run as a SavedModel.

    Args:
        run_dir: The run.
        out: Folder for the versions of the model; made when absent.

    Returns:
        The folder of the version that was written.

    Raises:
        InputError: If there is no run, it has no checkpoint, or `out` is no folder.
    """
    run = RunDirectory(run_dir)
    # Wherever it is served, float32 runs.
    settings = dataclasses.replace(run.config(), precision="float32")
    folder = check_output_folder(out)
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(
            f"The output's folder does not let anything be written. Received: --out={out}. Mend "
            "its permissions, or choose another."
        )
    network = build_untrained(settings)
    run.load_weights(network)
    version = next_version(pathlib.Path(out))
    archive = feature_archive(
        feature_model(network, FEATURES), settings.image_size, pixel_options(settings)
    )
    with write_directory_atomically(version) as folder, tensorflow_errors_as_os_errors():
        archive.write_out(str(folder), verbose=False)
    return version


def feature_archive(
    model: keras.Model, image_size: int, options: PixelOptions = USUAL
) -> keras.export.ExportArchive:
    """Bundles a model of features with the preprocessing in front of it.

    Args:
        model: From uint8 images `(n, s, s, 3)` to features `(n, d)`.
        image_size: Its input's side s in pixels.
        options: How images become pixels of that input.

    Returns:
        An archive with the signatures of this module's text.
    """

    def features(images):
        # TensorFlow's fused convolutions do not take an empty batch: it becomes one of a blank.
        count = tf.shape(images)[0]
        images = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        return {"features": tf.cast(model(images, training=False), tf.float32)[:count]}

    def from_bytes(image_bytes):
        # One image at a time, since their sizes differ; on the CPU, where decoding runs.
        with tf.device("/cpu:0"):
            images, status = tf.map_fn(
                lambda encoded: read_if_possible(encoded, image_size, options),
                image_bytes,
                fn_output_signature=(
                    tf.TensorSpec([image_size, image_size, 3], tf.uint8),
                    tf.TensorSpec([], tf.string),
                ),
            )
        was_read = tf.cast(status == b"", tf.float32)[:, tf.newaxis]
        return {"features": features(images)["features"] * was_read, "status": status}

    def from_pixels(images):
        return features(center_crop_batch(images, image_size, options.fit))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default", from_bytes, [tf.TensorSpec([None], tf.string, name="image_bytes")]
    )
    archive.add_endpoint(
        "features_uint8",
        from_pixels,
        [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")],
    )
    return archive


def read_if_possible(
    encoded: tf.Tensor, image_size: int, options: PixelOptions = USUAL
) -> tuple[tf.Tensor, tf.Tensor]:
    """Prepares an image, or says why that cannot be done.

    Graphs know no exceptions; but a `tf.data.Dataset` can leave out an element that fails. So the
    image is an element of one, and an answer in its place stands behind it. What is refused before
    training is refused here: a file cut off below the crop would give features of its own.

    Args:
        encoded: Scalar string tensor.
        image_size: Side s of the crop in pixels.
        options: How the image is decoded and fitted.

    Returns:
        uint8 `(s, s, 3)`, black for an image that cannot be read; and a scalar string: empty, or
        the reason.
    """
    options = dataclasses.replace(options, portable=True)

    def prepare(encoded):
        # All others are decoded whole.
        checked = tf.cond(
            is_upright_jpeg(encoded),
            lambda: check_jpeg(encoded, options.max_pixels),
            lambda: tf.zeros(2, tf.int32),
        )
        with tf.control_dependencies([checked]):
            return preprocess_for_clustering(encoded, image_size, options), ""

    image = tf.data.Dataset.from_tensors(encoded).map(prepare)
    blank = tf.zeros([image_size, image_size, 3], tf.uint8)
    reason = tf.where(
        tf.strings.length(encoded) == 0,
        EMPTY,
        tf.where(has_known_start(encoded), damaged(options.max_pixels), NO_IMAGE),
    )
    instead = tf.data.Dataset.from_tensors((blank, reason))
    either = image.ignore_errors(log_warning=False).concatenate(instead).take(1)
    return either.get_single_element()


def next_version(out: pathlib.Path) -> pathlib.Path:
    """The first free version folder below `out`: 1, 2, ..."""
    taken = [int(path.name) for path in out.glob("*") if path.name.isdecimal()]
    return out / str(max(taken, default=0) + 1)
