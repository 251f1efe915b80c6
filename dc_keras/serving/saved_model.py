"""A trained network as a SavedModel that needs no Python: the signatures of a `ClusterModel`.

    serving_default   image_bytes -> features, status
    features_uint8    images      -> features, status
    embedding         image_bytes -> embedding, status
    assign            image_bytes -> cluster, name, distance, margin, outlier, top_clusters,
                                     top_distances, status
    layers            image_bytes -> one output for each layer that was asked for, status

`image_bytes`, string `(n,)`, are encoded images of any format the training reads; `images`, uint8
`(n, h, w, 3)`, are pixels. `features` are float32 `(n, d)`, `embedding` float32 `(n, dim)`.
`cluster`, int32 `(n,)`, is the nearest one; the others are as `NearestClusters` has them, and
`name` is empty where clusters have none. `embedding` and `assign` are there if the run has
clusters.

An image that cannot be read does no harm to the others of its batch: its numbers are zeros, which
JSON can carry, its clusters -1, and `status`, string `(n,)`, says why. It is empty for the others.
"""

import os
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from dc_keras.data.pixels.center_crop import center_crop_batch
from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.errors import InputError
from dc_keras.serving.cluster_model import ClusterModel, in_blocks
from dc_keras.serving.image_bytes import read_all

Outputs = dict[str, tf.Tensor]


def archive_of(
    model: ClusterModel,
    options: PixelOptions = USUAL,
    *,
    names: Sequence[str] = (),
    layers: keras.Model | None = None,
) -> keras.export.ExportArchive:
    """Bundles a model with the preprocessing in front of it.

    Args:
        model: What is served.
        options: How images become pixels of its input.
        names: Of the clusters, or none.
        layers: From the same input to the outputs of layers, a list, for the signature `layers`;
            see `layers_of`.

    Returns:
        An archive with the signatures of this module's text.
    """
    size = model.image_size
    archive = keras.export.ExportArchive()
    archive.track(model.model)
    image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
    # All formats make a large graph: one that all signatures share.
    read = tf.function(
        lambda encoded: read_all(encoded, size, options), autograph=False
    ).get_concrete_function(image_bytes)

    def of_bytes(answer: Callable[[tf.Tensor], Outputs]) -> Callable:
        def serve(image_bytes):
            images, status = read(image_bytes)
            outputs = blank_where(status != b"", answer(images))
            return outputs | {"status": status}

        return serve

    def features(images):
        return {"features": model.compiled("features")(images)}

    def features_of_pixels(images):
        answer = features(center_crop_batch(images, size, options.fit))
        return answer | {"status": tf.fill([tf.shape(images)[0]], b"")}

    answers: dict[str, Callable[[tf.Tensor], Outputs]] = {"serving_default": features}
    if model.has_clusters:
        answers["embedding"] = lambda images: {"embedding": model.compiled("embedding")(images)}
        answers["assign"] = lambda images: cluster_outputs(model, images, names)
    if layers is not None:
        archive.track(layers)
        answers["layers"] = lambda images: layer_outputs(layers, images)
    for name, answer in answers.items():
        archive.add_endpoint(name, of_bytes(answer), [image_bytes])
    archive.add_endpoint(
        "features_uint8",
        features_of_pixels,
        [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")],
    )
    return archive


def write_archive(archive: keras.export.ExportArchive, folder: str | os.PathLike) -> None:
    """Writes a SavedModel into a folder that is empty or absent."""
    # Nobody trains what is served, and tracing the gradients takes half of the time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    archive.write_out(str(folder), options=options, verbose=False)


def cluster_outputs(model: ClusterModel, images: tf.Tensor, names: Sequence[str]) -> Outputs:
    """What the signature `assign` says of images, uint8 `(n, s, s, 3)`."""
    nearest = model.compiled("nearest")(images)
    cluster = nearest.clusters[:, 0]
    if names:
        named = tf.gather(tf.constant(list(names)), cluster)
    else:
        named = tf.fill([tf.shape(images)[0]], b"")
    return {
        "cluster": cluster,
        "name": named,
        "distance": nearest.distances[:, 0],
        "margin": nearest.margins,
        "outlier": nearest.outliers,
        "top_clusters": nearest.clusters,
        "top_distances": nearest.distances,
    }


def layer_outputs(layers: keras.Model, images: tf.Tensor) -> Outputs:
    """What the signature `layers` says of images: the outputs by the names of their layers."""

    def compute(block):
        outputs = layers(block, training=False)
        return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}

    return in_blocks(compute, images)


def layers_of(network: keras.Model, names: Sequence[str]) -> keras.Model:
    """The model of some layers' outputs: a dict by the names of the layers.

    Args:
        network: From images to logits.
        names: Names of its layers.

    Raises:
        InputError: If it has no such layer.
    """
    there = [layer.name for layer in network.layers[1:]]
    for name in names:
        if name not in there:
            raise InputError(
                f"The network has no such layer. Received: --layers={','.join(names)} with {name}. "
                f"Expected some of: {', '.join(there)}."
            )
    return keras.Model(network.input, {name: network.get_layer(name).output for name in names})


def blank_where(unread: tf.Tensor, outputs: Outputs) -> Outputs:
    """The outputs with nothing in them where an image was not read.

    Args:
        unread: bool `(n,)`.
        outputs: Tensors of n rows by name: clusters become -1, all else 0, false or empty.
    """
    blanked = {}
    for name, output in outputs.items():
        blank = -1 if output.dtype == tf.int32 else tf.zeros([], output.dtype)
        condition = tf.reshape(unread, [-1] + [1] * (output.shape.rank - 1))
        blanked[name] = tf.where(condition, blank, output)
    return blanked
