"""What is judged: networks, features without a network, and runs, each under a name.

trained              the network of the run, or what dc-keras cluster was given
random               the same network before its training, with and without fitted statistics
init, supervised     what the run started from; the network trained with the labels
pixels, patches      features that need no network
FILE.keras, RUN      networks by others, and other runs
"""

import copy
import dataclasses
import os
from collections.abc import Callable, Collection, Mapping

import keras
import numpy as np
import tensorflow as tf

from dc_keras import assembly
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layer_features import features_by_layer
from dc_keras.evaluation.linear_probe import averaged
from dc_keras.evaluation.measured import key_of
from dc_keras.evaluation.patches import MAX_SIDE, fit_patches
from dc_keras.models.architectures import LAST_CONV
from dc_keras.models.feature_extractor import FEATURES
from dc_keras.models.given_network import GivenNetwork, features_of, load_given_network
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model

# Features by the name of a layer, those of the training images and those of the test images.
Features = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Subject:
    """One of those that are compared.

    Attributes:
        told: What it is, to be put behind "Measuring".
        identity: What its features follow from beside the images: equal for equal ones alone.
        features: Makes the features that all tasks on labelled images share.
        network: From images to logits or features; None where there is none.
        split: The labelled images, as it reads them.
        layers: Names of the network's layers by those that they are reported under.
    """

    told: str
    identity: str
    features: Callable[[], Features]
    network: keras.Model | None
    split: Split
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def network_subject(
    told: str, network: keras.Model, split: Split, layers: Mapping[str, str], batch_size: int
) -> Subject:
    """A network, judged by some of its layers.

    Args:
        told: What it is.
        network: From images to logits or features.
        split: Labelled images.
        layers: Names of its layers by those that they are reported under; the last one's outputs
            are what is clustered.
        batch_size: Images in a step of feature extraction.
    """

    def features() -> Features:
        train, test = (
            features_by_layer(network, source, layers, batch_size)
            for source in (split.train, split.test)
        )
        return train, test

    weights = {str(number): np.array(one) for number, one in enumerate(network.weights)}
    identity = key_of(network=network.to_json(), layers=dict(layers), **weights)
    return Subject(told, identity, features, network, split, layers)


def layers_of(arch: str) -> dict[str, str]:
    """The layers of our networks that are judged: the last convolution, and what is clustered."""
    return {"conv5": LAST_CONV[arch], FEATURES: FEATURES}


def pixels_subject(split: Split, image_size: int, batch_size: int) -> Subject:
    """The pixels of the centre crops, averaged to at most 9,216 values, in fc7's place."""
    images = keras.Input((image_size, image_size, 3), dtype="uint8")
    pixels = keras.Model(images, keras.layers.Rescaling(1 / 255, name="pixels")(images))
    extract = network_subject("", pixels, split, {FEATURES: "pixels"}, batch_size).features

    def features() -> Features:
        train, test = extract()
        return _from_the_mean(train[FEATURES], test[FEATURES])

    return Subject("the pixels", f"pixels {image_size}", features, None, split)


def patches_subject(split: Split, image_size: int, batch_size: int, *, seed: int) -> Subject:
    """What `patches` makes of the centre crops, averaged to at most 32 x 32 pixels."""

    def features() -> Features:
        train, test = (
            small_crops(source, image_size, batch_size) for source in (split.train, split.test)
        )
        found = fit_patches(train, seed=seed)
        return _from_the_mean(found.apply(train), found.apply(test))

    return Subject("the patches", f"patches {image_size} {seed}", features, None, split)


def file_subject(file: str, split: Split, image_size: int, batch_size: int) -> Subject:
    """A network by others, from a .keras file that knows what pixels it takes.

    Raises:
        InputError: If it cannot be loaded, or does not tell: `dc-keras cluster --network` takes
            both, and makes a run that can be compared with.
    """
    network = load_given_network(file)
    given = GivenNetwork(image_size=image_size if network.inputs[0].shape[1] is None else 0)
    try:
        network, told = features_of(network, given)
    except InputError as error:
        raise InputError(
            f"The file does not tell how features are taken from it. Received: --baseline={file}. "
            f"{error} Make a run of it, which can be compared with: dc-keras cluster "
            f"--network={file} with these flags."
        ) from error
    return network_subject(f"{file}: {told}", network, split, {FEATURES: FEATURES}, batch_size)


def run_subject(
    told: str, run: RunDirectory, split: Split, strategy: tf.distribute.Strategy, batch_size: int
) -> Subject:
    """What a run has, each image read as that run reads it.

    Args:
        told: What it is.
        run: Of a training, or of given features or a given network, which have no "conv5".
        split: Images and labels that `check_can_be_judged` has let pass.
        strategy: Of the devices.
        batch_size: Images in a step of feature extraction.

    Raises:
        InputError: If the run is not finished.
    """
    settings, given = run.config(), load_given(run)
    options = assembly.pixel_options(settings)
    split = dataclasses.replace(
        split,
        train=copy.copy(split.train).read_with(options),
        test=copy.copy(split.test).read_with(options),
    )
    if given is None:
        with strategy.scope():
            network = assembly.build_untrained(settings)
        run.load_weights(network)
        return network_subject(told, network, split, layers_of(settings.arch), batch_size)
    model = load_model(run)
    if model.features is None:
        layers = {FEATURES: FEATURES}
        return network_subject(told, model.feature_network(), split, layers, batch_size)
    row_of = {name: row for row, name in enumerate(read_manifest(run.manifest).names)}
    train, test = (
        {FEATURES: np.array(model.features[[row_of[name] for name in source.names]])}
        for source in (split.train, split.test)
    )
    identity = key_of(train=train[FEATURES], test=test[FEATURES])
    return Subject(told, identity, lambda: (train, test), None, split)


def check_can_be_judged(run: RunDirectory, split: Split) -> None:
    """Checks what would else be noticed when others are measured already.

    Raises:
        InputError: If there is no such run, or it has no features of an image.
    """
    run.config()
    given = load_given(run)
    if given is None or given.is_network:
        return
    names = set(read_manifest(run.manifest).names)
    needed = [*split.train.names, *split.test.names]
    if missing := [name for name in needed if name not in names]:
        raise InputError(
            "Features were given of some images alone. Received: "
            f"--run_dir={run.path}, which has none of {len(missing):,} of {len(needed):,} images; "
            f"the first is {missing[0]!r}. Expected images of that run: leave --data_dir and "
            "--test_dir out, or cluster features of all these images."
        )


def row_name(path: str, taken: Collection[str]) -> str:
    """What a run or a file is called among others: its name, with all of its path where need be.

    >>> row_name("runs/dino", []), row_name("other/dino", ["dino"])
    ('dino', 'other/dino')
    """
    name = os.path.basename(os.path.abspath(path))
    return path if name in taken else name


def small_crops(source: ImageSource, image_size: int, batch_size: int) -> np.ndarray:
    """Centre crops of all images, averaged to 32 x 32 pixels where they are larger.

    Returns:
        uint8 `(n, s, s, 3)`, with s the lesser of the image size and 32: at most 3 KB an image.
    """
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=image_size, batch_size=batch_size
    )
    side = min(image_size, MAX_SIDE)
    crops = np.empty((len(source), side, side, 3), np.uint8)
    start = 0
    for batch in batches.as_numpy_iterator():
        crops[start : start + len(batch)] = np.round(averaged(batch.astype(np.float32), side))
        start += len(batch)
    return crops


def _from_the_mean(train: np.ndarray, test: np.ndarray) -> Features:
    """Features less their mean over the training images, in place, as those of fc7.

    Uncentred, all are positive, and the cosine that nearest neighbours go by is mostly that of two
    mean images.
    """
    mean = train.mean(axis=0)
    for features in (train, test):
        features -= mean
    return {FEATURES: train}, {FEATURES: test}
