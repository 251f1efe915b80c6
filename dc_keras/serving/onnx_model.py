"""The model from pixels on in the format of ONNX, for runtimes other than TensorFlow.

    images       uint8 (n, s, s, 3): squares, which the caller cuts out of the images
    features     float32 (n, d)
    embedding, clusters, distances, margins, outliers
                 as `NearestClusters` has them, if the run has clusters

ONNX knows no decoders of images.
"""

import pathlib

import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.memory import free_memory
from dc_keras.serving.cluster_model import ClusterModel

_OPSET = 18
# With the published 134 million weights, conversion took more than 20 GB and was ended.
_BYTES_A_WEIGHT = 200


def _check_memory(weights: int) -> None:
    """Looks whether a network is small enough: tf2onnx copies weights many times over.

    Raises:
        InputError: If it is not.
    """
    needed, free = weights * _BYTES_A_WEIGHT, free_memory().bytes
    if needed > free:
        raise InputError(
            f"The network is too large to be converted here. Received: {weights:,} weights, for "
            f"which tf2onnx may need {needed / 1e9:.0f} GB, with {free / 1e9:.0f} GB free. Leave "
            "--onnx out, and use the SavedModel."
        )


def write_onnx(model: ClusterModel, path: pathlib.Path) -> None:
    """Converts a model and writes it.

    Args:
        model: What is served.
        path: The file.

    Raises:
        InputError: If tf2onnx is missing, or would need more memory than is free.
    """
    _check_memory(model.model.count_params())
    try:
        import tf2onnx.convert
    except ImportError as error:
        raise InputError(
            f"tf2onnx is needed to write ONNX. Received: {error}. Install it with: "
            "pip install -r requirements-serving.txt"
        ) from error

    def answer(images):
        features = tf.cast(model.model(images, training=False), tf.float32)
        if not model.has_clusters:
            return {"features": features}
        embedding = model.cells.embedding(features)
        nearest = model.cells.nearest(embedding)
        return {"features": features, "embedding": embedding, **nearest._asdict()}

    images = tf.TensorSpec([None, *model.model.input_shape[1:]], tf.uint8, name="images")
    converted, _ = tf2onnx.convert.from_function(
        tf.function(answer, autograph=False), input_signature=[images], opset=_OPSET
    )
    with write_atomically(path, "wb") as file:
        file.write(converted.SerializeToString())
