"""How well one network's features tell the classes: the same protocol for all that are compared.

Quality of the clusters of its features against the labels, and how well labels can be read off its
frozen features by nearest neighbours and by a linear probe.
"""

import dataclasses
import sys
from collections.abc import Sequence

import keras
import numpy as np
from tqdm import tqdm

from dc_keras.clustering.cluster_quality import cluster_quality
from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.evaluation.knn import knn_accuracy
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.linear_probe import linear_probe, pooled_conv_features
from dc_keras.models.feature_extractor import FeatureExtractor, feature_model
from dc_keras.seeds import derive_seed

# The layers that are judged: the last convolution, before its pooling, and what is clustered.
LAYERS = ("conv5", "fc7")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How networks are judged.

    Attributes:
        clustering: How features are clustered: as in the training.
        last_conv: Name of the layer that is reported as "conv5".
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
    """

    clustering: ClusteringOptions
    last_conv: str
    batch_size: int
    seed: int


def measure(
    network: keras.Model,
    split: Split,
    protocol: Protocol,
    layers: Sequence[str] = LAYERS,
) -> dict[str, float]:
    """Measures one network.

    Args:
        network: From images to logits.
        split: Images and labels.
        protocol: How it is judged.
        layers: To judge, of the network; "conv5" is the last convolution, before its pooling.

    Returns:
        Figures by name: cluster quality of the last of the layers, and for each layer the
        accuracies of k-nearest neighbours and of a linear probe, the regularisation chosen for it,
        and its accuracy on the training images which that was chosen on.
    """
    train, test = features_by_layer(network, split, protocol, layers)
    return measure_features(train, test, split, protocol)


def features_by_layer(
    network: keras.Model,
    split: Split,
    protocol: Protocol,
    layers: Sequence[str],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features of the training and of the test images by layer; arguments as of `measure`."""
    names = [protocol.last_conv if layer == "conv5" else layer for layer in layers]
    with network.distribute_strategy.scope():
        extractor = FeatureExtractor(feature_model(network, *names))
    train, test = (
        dict(
            zip(
                layers,
                extract_layers(extractor, source, protocol.batch_size),
                strict=True,
            )
        )
        for source in (split.train, split.test)
    )
    return train, test


def measure_features(
    train: dict[str, np.ndarray],
    test: dict[str, np.ndarray],
    split: Split,
    protocol: Protocol,
) -> dict[str, float]:
    """Measures features by layer, as of `features_by_layer`; returns what `measure` does."""
    layers = list(train)
    clusters = cluster_features(
        train[layers[-1]], protocol.clustering, derive_seed(protocol.seed, "evaluation")
    )
    figures = dict(cluster_quality(split.train_labels, clusters))
    for layer in layers:
        data = (train[layer], split.train_labels, test[layer], split.test_labels)
        figures[f"knn_{layer}"] = knn_accuracy(*data)
        probe = linear_probe(*data, seed=derive_seed(protocol.seed, f"probe {layer}"))
        figures[f"probe_{layer}"] = probe.accuracy
        figures[f"probe_{layer}_c"] = probe.chosen_c
        figures[f"probe_{layer}_validation"] = probe.validation_accuracy
    return figures


def measure_pixels(split: Split, protocol: Protocol, image_size: int) -> dict[str, float]:
    """Measures the pixels of the centre crops, averaged to at most 9,216 values, as features.

    They are centred by their mean over the training images: uncentred, all are positive, and the
    cosine that nearest neighbours go by is mostly that of two mean images.

    Returns:
        Figures as of `measure`, under the names of fc7, in whose place the pixels are.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8")
    pixels = keras.Model(images, keras.layers.Rescaling(1 / 255, name="pixels")(images))
    train, test = features_by_layer(pixels, split, protocol, ("pixels",))
    mean = train["pixels"].mean(axis=0)
    for features in (train, test):
        features["pixels"] -= mean
    figures = measure_features(train, test, split, protocol)
    return {name.replace("pixels", "fc7"): value for name, value in figures.items()}


def cluster_features(features: np.ndarray, options: ClusteringOptions, seed: int) -> np.ndarray:
    """Clusters features by k-means, as the training does.

    Args:
        features: float32 `(n, feature_dim)`.
        options: Of the training: PCA, k-means and the number of clusters.
        seed: What k-means starts from is drawn with it.

    Returns:
        Cluster of each row, int32 `(n,)`.
    """
    whitening = fit_whitening(features, options.pca_dim, whiten=options.whiten)
    by_kmeans = dataclasses.replace(
        options, method="kmeans", num_clusters=min(options.num_clusters, len(features))
    )
    return assign_pseudo_labels(whitening.apply(features), by_kmeans, seed=seed, turn=0).assignments


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
