"""The copy of a network that is fine-tuned: convolutions as they are, classifier and head anew."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.models.blocks import FC_STDDEV
from dc_keras.models.feature_extractor import FEATURES
from dc_keras.models.layers import Dense
from dc_keras.seeds import numpy_rng

# What is trained: everything, or the fully connected layers.
ALL, FC = "all", "fc"
# Of fully connected layers and head.
_BIAS = 0.1
_FLATTEN = "flatten"


@dataclasses.dataclass(frozen=True)
class Tunable:
    """A network in two parts.

    Attributes:
        body: From uint8 images to flat feature maps; called with `training=False`, so that batch
            norm keeps its statistics.
        top: From these to logits, float32 `(n, classes)`; called with `training=True` in training.
        trained: The variables that are trained.
    """

    body: keras.Model
    top: keras.Model
    trained: list[keras.Variable]

    def state(self) -> list[keras.Variable]:
        """All that training changes: what is trained, and the draws of dropout."""
        known = {id(one) for one in self.trained}
        return [*self.trained, *(one for one in self.top.variables if id(one) not in known)]

    def logits(self, images: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """float32 `(n, classes)` of uint8 images."""
        return self.top(self.body(images, training=False), training=training)


def make_tunable(
    network: keras.Model, classes: int, parts: str, seed: int, *, train_batch_norm: bool = False
) -> Tunable:
    """Copies a network for fine-tuning; the network itself stays as it is.

    The weights of fully connected layers are drawn from N(0, 0.01), or from the wider N that the
    network itself began with where it is narrow and was made so; the head's uniformly within one
    over the root of its inputs; biases are 0.1.

    Args:
        network: From images to logits, with layers "flatten", "fc6" and "fc7".
        classes: Outputs of the new head.
        parts: What is trained, `ALL` or `FC`.
        seed: Draws the new weights and dropout.
        train_batch_norm: Whether scale and offset of batch norm are trained with `FC`, too.

    Raises:
        InputError: If the network has no such layers.
    """
    names = [layer.name for layer in network.layers]
    if _FLATTEN not in names or FEATURES not in names:
        raise InputError(
            "The network cannot be fine-tuned, since its fully connected layers are not known. "
            f"Received: layers {', '.join(names[-5:])}. Expected a network that train.py or "
            "dc-keras convert made. Use the SVMs alone."
        )
    copied = keras.models.clone_model(network)
    copied.set_weights(network.get_weights())
    body = keras.Model(copied.input, copied.get_layer(_FLATTEN).output, name="body")
    flat = keras.Input(body.output_shape[1:], dtype=body.output.dtype, name="flat")
    x = flat
    for layer in network.layers[names.index(_FLATTEN) + 1 : names.index(FEATURES) + 1]:
        x = type(layer).from_config(layer.get_config())(x)
    x = keras.layers.ReLU(name="relu7")(x)
    logits = Dense(classes, dtype="float32", name="head")(x)
    top = keras.Model(flat, logits, name="top")
    _start(top, seed)
    trained = list(top.trainable_variables)
    if parts == ALL:
        trained = body.trainable_variables + trained
    elif train_batch_norm:
        norms = [one for one in body.layers if isinstance(one, keras.layers.BatchNormalization)]
        trained = [variable for one in norms for variable in (one.gamma, one.beta)] + trained
    return Tunable(body, top, trained)


def _start(top: keras.Model, seed: int) -> None:
    """Gives the fully connected layers and dropout what they start with."""
    for layer in top.layers:
        rng = numpy_rng(seed, f"VOC {layer.name}")
        if isinstance(layer, keras.layers.Dense):
            shape = layer.kernel.shape
            if layer.name == "head":
                bound = 1 / np.sqrt(shape[0])
                layer.kernel.assign(rng.uniform(-bound, bound, shape).astype(np.float32))
            else:
                stddev = getattr(layer.kernel_initializer, "stddev", FC_STDDEV)
                layer.kernel.assign(rng.normal(0, stddev, shape).astype(np.float32))
            if layer.use_bias:
                layer.bias.assign(np.full(layer.bias.shape, _BIAS, np.float32))
        elif getattr(layer, "seed_generator", None):
            layer.seed_generator.state.assign(rng.integers(0, 2**31, 2).astype("uint32"))
