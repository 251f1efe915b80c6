"""Runs as what is judged: by the network that was trained or given, or by given features."""

import copy
import dataclasses
import os
from collections.abc import Collection

import numpy as np
import tensorflow as tf

from dc_keras import assembly
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.measures import LAYERS, Protocol, measure, measure_features
from dc_keras.models.architectures import LAST_CONV
from dc_keras.models.feature_extractor import FEATURES
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model


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


def measure_run(
    run: RunDirectory, split: Split, protocol: Protocol, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """Measures what a run has, each image read as that run reads it.

    Args:
        run: Of a training, or of given features or a given network, which have no "conv5".
        split: Images and labels that `check_can_be_judged` has let pass.
        protocol: How all that are compared are judged.
        strategy: Of the devices.

    Returns:
        Figures as of `measure`.

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
        protocol = dataclasses.replace(protocol, last_conv=LAST_CONV[settings.arch])
        return measure(network, split, protocol, LAYERS)
    model = load_model(run)
    if model.features is None:
        return measure(model.feature_network(), split, protocol, (FEATURES,))
    row_of = {name: row for row, name in enumerate(read_manifest(run.manifest).names)}
    train, test = (
        {FEATURES: np.array(model.features[[row_of[name] for name in source.names]])}
        for source in (split.train, split.test)
    )
    return measure_features(train, test, split, protocol)


def row_name(run_dir: str, taken: Collection[str]) -> str:
    """What a run is called among others: its folder, with all of its path where need be.

    >>> row_name("runs/dino", []), row_name("other/dino", ["dino"])
    ('dino', 'other/dino')
    """
    name = os.path.basename(os.path.abspath(run_dir))
    return run_dir if name in taken else name
