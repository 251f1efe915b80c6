"""Features of labelled images by the layers of a network that they come out of."""

import sys
from collections.abc import Mapping

import keras
import numpy as np
from tqdm import tqdm

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.evaluation.linear_probe import pooled_conv_features
from dc_keras.models.feature_extractor import FeatureExtractor, feature_model


def features_by_layer(
    network: keras.Model, source: ImageSource, layers: Mapping[str, str], batch_size: int
) -> dict[str, np.ndarray]:
    """Features of all images of a source, from one pass.

    Args:
        network: From images to logits or features.
        source: Images.
        layers: Names of its layers by those that they are asked for under.
        batch_size: Images in a step.

    Returns:
        float32 `(n, d)` by the name that was asked for; feature maps are averaged to at most
        9,216 values.
    """
    with network.distribute_strategy.scope():
        extractor = FeatureExtractor(feature_model(network, *layers.values()))
    return dict(zip(layers, extract_layers(extractor, source, batch_size), strict=True))


def extract_layers(
    extractor: FeatureExtractor, source: ImageSource, batch_size: int
) -> list[np.ndarray]:
    """Features of all images of a source, float32 `(n, d)` for each output of the extractor."""
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=extractor.image_size, batch_size=batch_size
    )
    collected = []
    with tqdm(
        total=len(source), desc="features", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        for outputs in extractor(batches):
            # A model with a single output gives it bare.
            outputs = outputs if isinstance(outputs, list) else [outputs]
            flat = [pooled_conv_features(one) if one.ndim == 4 else one for one in outputs]
            collected.append(flat)
            bar.update(len(flat[0]))
    return [np.concatenate(layer) for layer in zip(*collected, strict=True)]
