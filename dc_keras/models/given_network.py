"""Networks by others, as one Keras model from uint8 images to features.

    uint8 pixels  ->  what the network expects  ->  the network  ->  one vector an image

All parts are layers of Keras without code of their own, so that the result loads in safe mode. Its
last layer has the name of our own networks' features: what reads those reads these.
"""

import dataclasses
import importlib
import os
import pathlib

import keras
import numpy as np

from dc_keras.errors import InputError
from dc_keras.models.feature_extractor import FEATURES
from dc_keras.models.saved_network import load_network

KERAS_HUB = "keras_hub:"
PIXELS = ("0..255", "0..1", "-1..1", "imagenet", "caffe")
TOKENS = ("mean", "first")
# The colours of ImageNet: mean and standard deviation of 0..1, and the mean of 0..255.
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])
# Networks that begin with one of these take pixels as they are.
_OWN_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclasses.dataclass(frozen=True)
class GivenNetwork:
    """How features are taken from a network.

    Attributes:
        pixels: What it expects, one of `PIXELS`; empty if its layers tell.
        image_size: Side of its input in pixels; 0 for its own.
        layer: The layer whose outputs are the features; empty for its last.
        tokens: Which vector stands for an image where there is one for each of its parts.
    """

    pixels: str = ""
    image_size: int = 0
    layer: str = ""
    tokens: str = "mean"


def load_given_network(file: str) -> keras.Model:
    """Loads a network without executing code from its file, and without downloading anything.

    Args:
        file: A .keras file, or keras_hub:FOLDER with what `Backbone.save_to_preset` wrote.

    Raises:
        InputError: If it cannot be loaded so, or is another kind of model.
    """
    load = _from_keras_hub if file.startswith(KERAS_HUB) else _from_file
    network = load(file)
    inputs = getattr(network, "inputs", None)
    if not isinstance(network, keras.Model) or not inputs or not network.outputs:
        raise InputError(
            "The parts of the network are not known. Received: "
            f"{file!r} with a {type(network).__name__}. Expected a functional or sequential model "
            "of Keras."
        )
    if len(inputs) > 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
        raise InputError(
            f"The network takes something else than RGB images. Received: {file!r} with inputs "
            f"{shapes}. Expected one input (n, height, width, 3)."
        )
    return network


def _from_file(file: str) -> keras.Model:
    if pathlib.PurePath(file).suffix != ".keras" or not os.path.isfile(file):
        raise InputError(
            f"The network is not there. Received: --network={file}. Expected a file that ends in "
            f".keras, written by model.save, or {KERAS_HUB}FOLDER."
        )
    try:
        return load_network(file)
    # A damaged file, or one with code or classes of others, can make Keras raise anything.
    except Exception as error:
        raise InputError(
            f"The network cannot be loaded. Received: {file!r} ({_reason(error)}). Expected a "
            ".keras file of Keras 3 made of layers of Keras alone; code in it, such as that of a "
            "Lambda layer, is not executed. Save the part up to the features as such a model, or "
            "give the features themselves with --embeddings."
        ) from error


def _from_keras_hub(name: str) -> keras.Model:
    folder = name.removeprefix(KERAS_HUB)
    if not os.path.isdir(folder):
        raise InputError(
            f"Nothing is downloaded. Received: --network={name}, where {folder!r} is no folder. "
            "Expected the folder of a backbone: "
            "keras_hub.models.Backbone.from_preset(NAME).save_to_preset(FOLDER) makes one."
        )
    try:
        hub = importlib.import_module("keras_hub")
    except ImportError as error:
        raise InputError(
            f"Networks of keras_hub need that library. Received: --network={name} ({error}). "
            "Install it with: pip install keras-hub"
        ) from error
    try:
        return hub.models.Backbone.from_preset(folder)
    except Exception as error:
        raise InputError(
            f"The backbone cannot be loaded. Received: {folder!r} ({_reason(error)}). Expected "
            "what Backbone.save_to_preset of keras_hub wrote, with its weights."
        ) from error


def features_of(network: keras.Model, given: GivenNetwork) -> tuple[keras.Model, str]:
    """Puts what a network expects before it and what makes vectors of its outputs behind it.

    Args:
        network: As `load_given_network` returns it.
        given: How features are taken from it.

    Returns:
        From uint8 images `(n, s, s, 3)` to features, float32 `(n, d)`, in a last layer "fc7"; and
        in words what they are.

    Raises:
        InputError: If size, layer, pixels or the shape of the outputs do not allow it.
    """
    side = _side(network, given.image_size)
    inner, named = _up_to(network, given.layer)
    images = keras.Input((side, side, 3), dtype="uint8", name="images")
    pixels, expected = _pixels(images, network, given.pixels)
    features, told = _vectors(_call(inner, pixels), given.tokens)
    features = keras.layers.Activation("linear", dtype="float32", name=FEATURES)(features)
    return (
        keras.Model(images, features, name="features"),
        f"{told} of {named}, {side} px, pixels {expected}",
    )


def _side(network: keras.Model, image_size: int) -> int:
    height, width = network.inputs[0].shape[1:3]
    if height is None and width is None:
        if not image_size:
            raise InputError(
                "The network takes images of any size. Received: no --image_size. Expected the "
                "side of its input in pixels, such as 224."
            )
        return image_size
    side = height or width
    if (width or height) != side or image_size not in (0, side):
        with_size = f" with --image_size={image_size}" if image_size else ""
        raise InputError(
            f"The size of the network's input is another. Received: {height} x {width} "
            f"pixels{with_size}. Expected a square, and --image_size as it is or left out."
        )
    return side


def _up_to(network: keras.Model, layer: str) -> tuple[keras.Model, str]:
    """The part of a network that ends in its features, with their name in words.

    Where that is all of it, it stays what it is: classes of others are known to be loaded as whole
    networks, not layer by layer.
    """
    names = [one.name for one in network.layers]
    if not layer and FEATURES in names and network.inputs[0].dtype == "uint8":
        layer = FEATURES
    if layer and layer not in names:
        raise InputError(
            f"The network has no such layer. Received: --layer={layer}. Expected one of: "
            f"{', '.join(names[-20:])}."
        )
    outputs = keras.tree.flatten(network.get_layer(layer).output) if layer else network.outputs
    if len(outputs) != 1:
        raise InputError(
            f"There are several outputs. Received: {len(outputs)} of "
            f"{layer or 'the network'}. Expected one: name its layer with --layer, of "
            f"{', '.join(names[-20:])}."
        )
    if not layer:
        return network, "the last layer"
    return keras.Model(network.inputs[0], outputs[0], name="network"), f"layer {layer}"


def _call(network: keras.Model, pixels: keras.KerasTensor) -> keras.KerasTensor:
    """The single output of a network of a single input, of which either may be in a dict."""
    if not isinstance(network, keras.Sequential):
        pixels = keras.tree.pack_sequence_as(network.input, [pixels])
    (output,) = keras.tree.flatten(network(pixels))
    return output


def _pixels(
    images: keras.KerasTensor, network: keras.Model, pixels: str
) -> tuple[keras.KerasTensor, str]:
    """What the network expects, made of uint8 pixels, and its name."""
    if network.inputs[0].dtype == "uint8":
        if pixels not in ("", PIXELS[0]):
            raise InputError(f"The network takes uint8. Received: --pixels={pixels}. Leave it out.")
        return images, PIXELS[0]
    if not pixels:
        if not any(isinstance(layer, _OWN_PREPROCESSING) for layer in network.layers[:4]):
            raise InputError(
                "It is not known what pixels the network expects. Received: no --pixels. Expected "
                "one of: 0..255 (networks that scale by themselves), 0..1, -1..1 (such as ViT, "
                "MobileNet, ResNet50V2), imagenet (0..1 less the mean over the deviation: PyTorch, "
                "DINO, DenseNet), caffe (BGR less the mean: VGG16 and ResNet50 of Keras). With "
                "another the features are poor, and nothing tells so."
            )
        pixels = PIXELS[0]
    # Equal to keras.applications.imagenet_utils.preprocess_input: 0..255 less the mean, scaled.
    scale, mean = {
        "0..255": (1.0, 0.0),
        "0..1": (1 / 255, 0.0),
        "-1..1": (1 / 127.5, 127.5),
        "imagenet": (1 / (255 * _DEVIATION), 255 * _MEAN),
        "caffe": (1.0, _CAFFE_MEAN),
    }[pixels]
    offset = -np.asarray(mean) * scale
    as_plain = [np.asarray(value).tolist() for value in (scale, offset)]
    scaled = keras.layers.Rescaling(*as_plain, dtype="float32", name="pixels")(images)
    if pixels == "caffe":
        scaled = keras.ops.flip(scaled, axis=-1)
    return scaled, pixels


def _vectors(outputs: keras.KerasTensor, tokens: str) -> tuple[keras.KerasTensor, str]:
    """One vector an image, and in words how it was made."""
    shape = tuple(outputs.shape)[1:]
    if None not in shape[-1:]:
        if len(shape) == 1:
            return outputs, f"{shape[0]:,} values"
        if len(shape) == 3:
            pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(outputs)
            return pooled, f"{shape[2]:,} values, the mean over the {shape[0]} x {shape[1]} map"
        if len(shape) == 2 and tokens == "first" and shape[0]:
            first = keras.layers.Cropping1D((0, shape[0] - 1))(outputs)
            return keras.layers.Flatten()(first), f"{shape[1]:,} values, the first token"
        if len(shape) == 2:
            pooled = keras.layers.GlobalAveragePooling1D(data_format="channels_last")(outputs)
            return pooled, f"{shape[1]:,} values, the mean of {shape[0]} tokens"
    raise InputError(
        f"The outputs are no features. Received: shape {tuple(outputs.shape)}. Expected (n, d), "
        "maps (n, height, width, d) or tokens (n, t, d): name another layer with --layer."
    )


def _reason(error: BaseException) -> str:
    """The first sentence: others advise to load files without protection."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
