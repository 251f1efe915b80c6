"""Batch norm statistics for a network that was not trained.

A fresh network has running means of 0 and variances of 1, which tell nothing of the images; a
trained one has statistics of them. Comparing the two compares statistics as well as weights. The
public code compares so, and untouched statistics are often the stronger baseline, so that both are
reported.
"""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

# Images that statistics are averaged over, at most: some tens of batches.
CALIBRATION_IMAGES = 4096


def calibrate(network: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Fits the batch norm statistics of a network to images; its weights stay as they are.

    The running means and variances become the averages of those that the batches have on their way
    through the network in training mode: dropout is active, and each layer sees what the layers
    before it make of the batch with the batch's own statistics, as in training.

    Args:
        network: From images to logits.
        batches: At least one batch of images, uint8 `(b, s, s, 3)`, as in training.

    Raises:
        ValueError: If there are no batches.
    """
    layers = [
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    statistics = [
        variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)
    ]
    sums = [np.zeros(variable.shape) for variable in statistics]
    momenta = [layer.momentum for layer in layers]
    count = 0
    try:
        for layer in layers:
            # Running statistics are then those of the latest batch.
            layer.momentum = 0.0
        forward = tf.function(lambda images: network(images, training=True), autograph=False)
        with network.distribute_strategy.scope():
            for images in batches:
                forward(images)
                count += 1
                for total, variable in zip(sums, statistics, strict=True):
                    total += variable.numpy()
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if count == 0:
        raise ValueError("There are no batches to take statistics from.")
    for total, variable in zip(sums, statistics, strict=True):
        variable.assign((total / count).astype("float32"))
