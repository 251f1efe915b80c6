"""Networks as .keras files, which load without executing code from them."""

import os

import keras

from dc_keras.models.layers import BatchNormalization, Convolution, CosineHead, Dense
from dc_keras.models.sobel import sobel_gradients, sobel_output_shape


def load_network(path: str | os.PathLike) -> keras.Model:
    """Loads a network that was saved as a .keras file, without executing code from it.

    Args:
        path: Such as RUN/model/network.keras.

    Returns:
        The network, from uint8 images to logits.
    """
    custom = {
        "dc_keras>sobel_gradients": sobel_gradients,
        "dc_keras>sobel_output_shape": sobel_output_shape,
        "dc_keras>BatchNormalization": BatchNormalization,
        "dc_keras>Convolution": Convolution,
        "dc_keras>CosineHead": CosineHead,
        "dc_keras>Dense": Dense,
    }
    return keras.saving.load_model(path, custom_objects=custom, compile=False, safe_mode=True)
