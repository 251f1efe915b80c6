"""The published linear probes: SGD on augmented images, for the heads of all layers at once.

The network is frozen and sees each batch once; every layer's head learns from it by itself. What
is reported is the last epoch: the published figures are those of the epoch that was best on the
test images.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layers.crops import crops_for_testing, resized_crops, shifted_crops
from dc_keras.evaluation.layers.pooled import (
    FULLY_CONNECTED,
    dimensions,
    layer_names,
    pooled_layers,
)
from dc_keras.files import explain_write_errors, write_atomically
from dc_keras.seeds import numpy_rng

MOMENTUM = 0.9
# Standard deviation that weights start with.
_START = 0.01
STATE_FILE = "sgd_probes.npz"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How heads are trained.

    Attributes:
        rates: Learning rate of each layer's head.
        l2: Factor of the weight in its gradient.
        decays: Whether rates fall at every step t, by 1 / sqrt(1 + rate * l2 * t).
        shifted: Whether crops are of one size at random places, instead of resized.
        epochs: Passes over the images.
        batch_size: Images in a step.
        seed: The run's seed.
    """

    rates: tuple[float, ...]
    l2: float
    decays: bool
    shifted: bool
    epochs: int
    batch_size: int = 256
    seed: int = 31


@dataclasses.dataclass(frozen=True)
class Head:
    """A linear classifier of raw features.

    Attributes:
        weights: float32 `(d, classes)`.
        bias: float32 `(classes,)`.
    """

    weights: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class SgdResult:
    """What a head made of the test images.

    Attributes:
        accuracy: Fraction that is classified correctly after the last epoch.
        correct: Which ones are, boolean `(m,)`.
        head: The head.
    """

    accuracy: float
    correct: np.ndarray
    head: Head


# Of VGG16's 13 convolutions on ImageNet, and of fc6 and fc7 as of the last ones, since nothing is
# published of them.
_VGG_RATES = (0.005, 0.01, *(0.03,) * 4, 0.02, *(0.03,) * 3, *(0.02,) * 3)
_VGG_FC_RATE = 0.02
_ALEXNET_RATE = 0.01


def published_recipe(
    network: keras.Model, layers: Sequence[str], *, epochs: int | None, seed: int
) -> Recipe:
    """The published settings of a network's layers.

    Args:
        network: VGG16 or AlexNet.
        layers: Names of layers, of those of `pooled.layer_names`.
        epochs: None for as many as published: 100 of VGG16, 90 of AlexNet.
        seed: The run's seed.

    Reference:
        VGG16: Caron et al. 2019. AlexNet: Caron et al. 2018.
    """
    maps = [name for name in layer_names(network) if name not in FULLY_CONNECTED]
    if len(maps) != len(_VGG_RATES):
        return Recipe((_ALEXNET_RATE,) * len(layers), 1e-4, True, True, epochs or 90, seed=seed)
    rates = dict(zip(maps, _VGG_RATES, strict=True))
    found = tuple(rates.get(name, _VGG_FC_RATE) for name in layers)
    return Recipe(found, 1e-5, False, False, epochs or 100, seed=seed)


def sgd_probes(
    network: keras.Model,
    split: Split,
    layers: Sequence[str] = (),
    *,
    folder: pathlib.Path,
    epochs: int | None = None,
    ten_crops: bool = False,
    seed: int,
) -> dict[str, SgdResult]:
    """Trains a head on each layer by the published protocol, and tests it.

    A call that was stopped goes on behind the last epoch that it finished.

    Args:
        network: From images to logits; called with `training=False`.
        split: Images and labels.
        layers: Names of layers; empty for all.
        folder: Where heads and their optimizer are kept after each epoch.
        epochs: Passes over the images; None for as many as published.
        ten_crops: Whether a test image is classified by the mean of the softmax of ten crops,
            instead of by its centre crop.
        seed: The run's seed.

    Returns:
        What was found of each layer, from the image on.

    Raises:
        InputError: If the folder holds heads of another network or other settings.
        CannotWriteError: If the folder cannot be written.
    """
    layers = tuple(layers) or layer_names(network)
    model = pooled_layers(network, layers)
    recipe = published_recipe(network, layers, epochs=epochs, seed=seed)
    size = network.input_shape[1]
    batches = functools.partial(
        shifted_crops if recipe.shifted else resized_crops,
        split.train,
        image_size=size,
        batch_size=recipe.batch_size,
        seed=seed,
    )
    heads = train_heads(
        model,
        lambda epoch: batches(epoch=epoch),
        len(split.class_names),
        recipe,
        folder,
    )
    tested = crops_for_testing(
        split.test, image_size=size, batch_size=recipe.batch_size, ten_crops=ten_crops
    )
    predictions = predict(model, heads, tested, views=10 if ten_crops else 1)
    results = {}
    for layer, head, predicted in zip(layers, heads, predictions, strict=True):
        correct = predicted == split.test_labels
        results[layer] = SgdResult(float(correct.mean()), correct, head)
    return results


def train_heads(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    num_classes: int,
    recipe: Recipe,
    folder: pathlib.Path,
) -> list[Head]:
    """Trains a head on each output of a frozen model, by SGD with momentum and coupled decay.

    Args:
        model: From images to a list of float32 `(b, d)`.
        batches: Gives the batches of an epoch, images and labels int32 `(b,)`.
        num_classes: Outputs of each head.
        recipe: How.
        folder: Made where it is missing. The heads are kept there after each epoch; those of the
            same settings that are there already go on.

    Returns:
        The heads after the last epoch, in the order of the outputs.

    Raises:
        InputError: If the folder holds heads of another network or other settings.
        CannotWriteError: If it cannot be written.
    """
    path = pathlib.Path(folder) / STATE_FILE
    with explain_write_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    sizes = dimensions(model)
    settings = _settings(model, num_classes, recipe)
    state = _State.load(path, settings, len(sizes)) if path.is_file() else None
    state = state or _State.begin(sizes, num_classes, recipe.seed)
    step = _training_step(model, state, recipe)
    with tqdm(
        total=recipe.epochs,
        initial=state.epoch,
        desc="probes by SGD, epochs",
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        for epoch in range(state.epoch, recipe.epochs):
            for images, labels in batches(epoch):
                step(images, labels)
            state.epoch = epoch + 1
            state.save(path, settings)
            bar.update()
    return [Head(*(one.numpy() for one in pair)) for pair in state.weights]


def predict(
    model: keras.Model, heads: Sequence[Head], batches: tf.data.Dataset, *, views: int = 1
) -> list[np.ndarray]:
    """Classifies images by the mean of the softmax of their views.

    Args:
        model: From images to a list of float32 `(b, d)`.
        heads: One of each output.
        batches: Images, all views of one behind each other, in the same batch.
        views: How many views there are of an image.

    Returns:
        The classes that each head says, int64 `(m,)`.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def step(images):
        found = []
        for features, head in zip(_outputs(model, images), heads, strict=True):
            softmax = tf.nn.softmax(features @ head.weights + head.bias)
            by_image = tf.reshape(softmax, (-1, views, softmax.shape[-1]))
            found.append(tf.argmax(tf.reduce_mean(by_image, 1), 1))
        return found

    collected = [step(images) for images in batches]
    return [
        np.concatenate([one.numpy() for one in parts]) for parts in zip(*collected, strict=True)
    ]


@dataclasses.dataclass
class _State:
    """Heads and their momentum.

    Attributes:
        weights: Weights and bias of each head.
        velocities: The same of their momentum.
        steps: How many were made, int64.
        epoch: How many epochs are finished.
    """

    weights: list[tuple[tf.Variable, tf.Variable]]
    velocities: list[tuple[tf.Variable, tf.Variable]]
    steps: tf.Variable
    epoch: int = 0

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], steps: int, epoch: int) -> "_State":
        """From weights, biases and their momentum: four arrays of each head."""
        made = iter([tf.Variable(array, dtype=tf.float32, trainable=False) for array in arrays])
        pairs = list(zip(made, made, strict=True))
        return cls(pairs[::2], pairs[1::2], tf.Variable(steps, dtype=tf.int64), epoch)

    @classmethod
    def begin(cls, sizes: Sequence[int], num_classes: int, seed: int) -> "_State":
        arrays: list[np.ndarray] = []
        for place, size in enumerate(sizes):
            drawn = numpy_rng(seed, "probe head", place).normal(0, _START, (size, num_classes))
            bias = np.zeros(num_classes)
            arrays += [drawn, bias, np.zeros_like(drawn), np.zeros_like(bias)]
        return cls.of(arrays, 0, 0)

    @classmethod
    def load(cls, path: pathlib.Path, settings: str, heads: int) -> "_State":
        try:
            with np.load(path, allow_pickle=False) as file:
                found = str(file["settings"])
                steps, epoch = int(file["steps"]), int(file["epoch"])
                # Those of other settings may have another number of heads.
                arrays = [file[f"array{i}"] for i in range(4 * heads)] if found == settings else []
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"The probes cannot be read. Received: {path} ({error}). Expected what an earlier "
                "call left there. Remove the file to begin anew."
            ) from error
        if found != settings:
            raise InputError(
                "The probes that were begun are of another network or other settings. Received: "
                f"{path} with {found}. Expected {settings}. Remove the file to begin anew, or give "
                "another folder."
            )
        return cls.of(arrays, steps, epoch)

    def save(self, path: str | os.PathLike, settings: str) -> None:
        pairs = [pair for both in zip(self.weights, self.velocities, strict=True) for pair in both]
        arrays = {
            f"array{i}": one.numpy() for i, one in enumerate(one for pair in pairs for one in pair)
        }
        with write_atomically(path, "wb") as file:
            np.savez(
                file,
                settings=np.array(settings),
                steps=self.steps.numpy(),
                epoch=self.epoch,
                **arrays,
            )


def _training_step(model: keras.Model, state: _State, recipe: Recipe) -> Callable:
    """Compiles a step of all heads; a gradient of the loss of softmax is written out."""

    def update(features, labels, weights, velocities, rate):
        kernel, bias = weights
        softmax = tf.nn.softmax(features @ kernel + bias)
        errors = softmax - tf.one_hot(labels, softmax.shape[-1])
        errors /= tf.cast(tf.shape(labels)[0], tf.float32)
        gradients = tf.matmul(features, errors, transpose_a=True), tf.reduce_sum(errors, 0)
        for variable, velocity, gradient in zip(weights, velocities, gradients, strict=True):
            # As PyTorch does it: the rate, which falls, is outside of the momentum.
            velocity.assign(MOMENTUM * velocity + gradient + recipe.l2 * variable)
            variable.assign_sub(rate * velocity)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(images, labels):
        done = tf.cast(state.steps, tf.float32)
        outputs = _outputs(model, images)
        parts = zip(outputs, state.weights, state.velocities, recipe.rates, strict=True)
        for features, weights, velocities, rate in parts:
            fallen = rate * tf.math.rsqrt(1 + rate * recipe.l2 * done) if recipe.decays else rate
            update(features, labels, weights, velocities, fallen)
        state.steps.assign_add(1)

    return step


def _outputs(model: keras.Model, images: tf.Tensor) -> list[tf.Tensor]:
    outputs = model(images, training=False)
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _settings(model: keras.Model, num_classes: int, recipe: Recipe) -> str:
    """What heads must have in common to go on, as JSON; the number of epochs may grow."""
    told = dataclasses.asdict(recipe) | {"classes": num_classes, "dimensions": dimensions(model)}
    del told["epochs"]
    digest = hashlib.blake2b(digest_size=8)
    for part in _bytes_of_weights(model):
        digest.update(part)
    return json.dumps(told | {"network": digest.hexdigest()})


def _bytes_of_weights(model: keras.Model) -> Iterator[bytes]:
    for weight in model.weights:
        yield np.ascontiguousarray(weight.numpy()).tobytes()
