"""Requests that TensorFlow Serving answers before it takes others.

The first request of each signature takes seconds, in which graphs are optimised. A server that
finds requests beside the model answers them while it loads.

Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.serving.cluster_model import BLOCKS

REQUESTS = "tf_serving_warmup_requests"


def write_warm_up(folder: pathlib.Path, signatures: Sequence[str], image_size: int) -> bool:
    """Writes a request of each block's size for each signature.

    Args:
        folder: The folder assets.extra of a SavedModel.
        signatures: Their names.
        image_size: Side of the images in pixels.

    Returns:
        Whether they were written: that needs the package tensorflow-serving-api.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return False
    # A slope from black to white.
    slope = np.linspace(0, 255, image_size).astype(np.uint8)
    image = np.broadcast_to(slope[:, None, None], (image_size, image_size, 3))
    encoded = tf.io.encode_png(image).numpy()
    with tf.io.TFRecordWriter(str(folder / REQUESTS)) as file:
        for signature in signatures:
            for size in BLOCKS:
                if signature == "features_uint8":
                    name, values = "images", np.stack([image] * size)
                else:
                    name, values = "image_bytes", np.array([encoded] * size, object)
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.signature_name = signature
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
                file.write(log.SerializeToString())
    return True
