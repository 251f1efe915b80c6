"""Random colours for training images: brightness, contrast, saturation, hue, and grey.

Clusters form on what all views of an image share. Colours are the easiest thing to share, so that a
network which sees colours is shown each image in others. All five changes are linear in the pixels:
an image takes one 3 x 3 matrix and an offset, and a batch takes one multiplication.
"""

import math

import numpy as np
import tensorflow as tf

# Largest changes at strength 1: factors in [0.6, 1.4], hue by a tenth of a turn.
FACTOR, HUE = 0.4, 0.1
# Part of the images whose colours are changed at all.
PROBABILITY = 0.8

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_YIQ)
_LUMA = _YIQ[0]


def jitter_colors(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    strength: float,
    grayscale: float,
    first: int | tf.Tensor = 0,
) -> tf.Tensor:
    """Changes the colours of each image of a batch at random.

    With y the grey value of a pixel, and m its mean over the image: saturation takes a pixel p to
    s p + (1 - s) y, hue turns it about the grey axis, contrast takes it to c p + (1 - c) m,
    brightness to b p; in this order, with clipping to [0, 255] at the end alone.

    Args:
        images: uint8 `(n, h, w, 3)`.
        seed: int32 or int64 (2,). The same seed gives the same colours.
        strength: Multiplies the largest changes; 0 makes none. At most 2.5.
        grayscale: Probability of an image to lose all colour.
        first: Place of the first image within the batch that they are a part of: they get the
            colours that they would get there.

    Returns:
        uint8 `(n, h, w, 3)`.

    Reference:
        Chen et al. 2020, "A Simple Framework for Contrastive Learning", appendix A: the same five
        changes at the strengths of its CIFAR-10 experiments; theirs come in random order.
    """
    uniforms = tf.random.stateless_uniform([first + tf.shape(images)[0], 6], seed)[first:]
    matrix, contrast = color_matrices(uniforms, strength=strength, grayscale=grayscale)
    pixels = tf.cast(images, tf.float32)
    # Of the image's mean, since contrast is taken around its grey.
    mean = tf.einsum("nc,c->n", tf.reduce_mean(pixels, (1, 2)), tf.constant(_LUMA, tf.float32))
    changed = tf.einsum("nhwc,ndc->nhwd", pixels, matrix) + (contrast * mean)[:, None, None, None]
    return tf.saturate_cast(tf.round(changed), tf.uint8)


def color_matrices(
    uniforms: tf.Tensor, *, strength: float, grayscale: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the linear change of colours of each image.

    Args:
        uniforms: Numbers in [0, 1), float32 `(n, 6)`: brightness, contrast, saturation, hue,
            whether colours change, whether the image turns grey.
        strength: As for `jitter_colors`.
        grayscale: As for `jitter_colors`.

    Returns:
        Matrices float32 `(n, 3, 3)`, from the left, and the factor of the image's mean grey value
        that is added to all channels, float32 `(n,)`.
    """
    change = 2 * uniforms[:, :4] - 1
    change = tf.where(uniforms[:, 4:5] < PROBABILITY, change * strength, 0.0)
    brightness, contrast, saturation = tf.unstack(1 + FACTOR * change[:, :3], axis=1)
    angle = 2 * math.pi * HUE * change[:, 3]
    # Without saturation, hue has nothing to turn.
    saturation = tf.where(uniforms[:, 5] < grayscale, 0.0, saturation)

    cos, sin, one, zero = tf.cos(angle), tf.sin(angle), tf.ones_like(angle), tf.zeros_like(angle)
    # Saturation scales the two colour axes of YIQ, hue turns them.
    in_yiq = tf.stack(
        [
            *(one, zero, zero),
            *(zero, saturation * cos, -saturation * sin),
            *(zero, saturation * sin, saturation * cos),
        ],
        axis=1,
    )
    from_yiq, to_yiq = (tf.constant(matrix, tf.float32) for matrix in (_FROM_YIQ, _YIQ))
    matrix = tf.einsum("ij,njk,kl->nil", from_yiq, tf.reshape(in_yiq, (-1, 3, 3)), to_yiq)
    return matrix * (brightness * contrast)[:, None, None], brightness * (1 - contrast)
