"""Bilinear resizing of squares out of images."""

import numpy as np
import tensorflow as tf

from dc_keras.data.pixels.resizing import resize
from encoded_images import noise


def test_resizing_is_tensorflows_antialiased_one():
    images = np.stack([noise(61, 83, seed) for seed in range(2)])
    scale, shift = [0.5, 0.9], [-1.3, -20.7]
    expected = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=[24, 24],
        scale=scale,
        translation=shift,
        kernel_type="triangle",
        antialias=True,
    )
    resized = resize(images, 24, tf.constant(scale), tf.constant(shift))
    # Both round to a half where the sum of the weights is not exactly 1.
    np.testing.assert_allclose(resized, expected, atol=0.501)
