"""The fixed front-end of the network: normalised pixels to image gradients.

The paper removes colour and increases local contrast with a fixed linear transformation based on
Sobel filters (section 3.3 and 4), so that clusters do not form on colour.
"""

import keras
import numpy as np

# Mean and standard deviation of ImageNet's pixels in [0, 1], which the published networks expect.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

# Row 0 responds to horizontal change, row 1 to vertical; applied as cross-correlation.
SOBEL = np.array(
    [
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    ],
    dtype="float32",
)


def full_precision() -> str:
    """The type of weights, for layers that compute in it whatever the others compute in.

    Differences of pixels lose most of their digits in 16 bits, as do logits, which the loss
    subtracts.
    """
    return keras.config.dtype_policy().variable_dtype


def normalize() -> keras.layers.Layer:
    """Makes the layer from uint8 pixels `(n, h, w, 3)` to normalised float pixels."""
    scale = [1.0 / (255.0 * std) for std in PIXEL_STD]
    offset = [-mean / std for mean, std in zip(PIXEL_MEAN, PIXEL_STD, strict=True)]
    return keras.layers.Rescaling(
        scale=scale, offset=offset, dtype=full_precision(), name="normalize"
    )


@keras.saving.register_keras_serializable(package="dc_keras")
def sobel_gradients(pixels):
    """Turns pixels to grey and takes their horizontal and vertical gradient.

    The grey value is the mean of the three channels. The border is padded with zeros, as published:
    zero is the mean grey here, so bright and dark images respond at their border.

    Args:
        pixels: Normalised pixels, float `(n, h, w, 3)`.

    Returns:
        Gradients, float `(n, h, w, 2)`: horizontal, vertical.

    >>> edge = np.zeros((1, 3, 4, 3), "float32")
    >>> edge[:, :, 2:] = 1  # dark to the left, bright to the right
    >>> keras.ops.convert_to_numpy(sobel_gradients(edge))[0, 1, 1].tolist()
    [-4.0, 0.0]

    Reference:
        Caron et al. 2018, section 4; weights of the published front-end.
    """
    gray = keras.ops.mean(pixels, axis=-1, keepdims=True)
    kernel = keras.ops.convert_to_tensor(SOBEL.transpose(1, 2, 0)[:, :, None, :], gray.dtype)
    return keras.ops.conv(gray, kernel, strides=1, padding="same", data_format="channels_last")


def sobel() -> keras.layers.Layer:
    """Makes the Sobel front-end: a Lambda over a named function, so that files load safely."""
    return keras.layers.Lambda(
        sobel_gradients,
        output_shape=sobel_output_shape,
        dtype=full_precision(),
        name="sobel",
        trainable=False,
    )


@keras.saving.register_keras_serializable(package="dc_keras")
def sobel_output_shape(input_shape):
    """Shape of `sobel_gradients`: two channels instead of three."""
    return (*input_shape[:-1], 2)
