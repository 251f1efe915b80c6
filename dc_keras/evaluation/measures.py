"""How well one network's features tell the classes: the same protocol for all that are compared.

Quality of the clusters of its features against the labels, and how well labels can be read off its
frozen features by nearest neighbours, by a linear probe, and by linear SVMs from a few images.
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
from dc_keras.config.programs import USUAL_TASKS
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.evaluation.class_clusters import class_clusters
from dc_keras.evaluation.knn import MORE_NEIGHBORS, NUM_NEIGHBORS, knn_accuracies, knn_accuracy
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.linear_probe import averaged, linear_probe, pooled_conv_features
from dc_keras.evaluation.lowshot import low_shot
from dc_keras.evaluation.patches import MAX_SIDE, fit_patches
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
        tasks: What is measured, some of `config.programs.TASKS`.
    """

    clustering: ClusteringOptions
    last_conv: str
    batch_size: int
    seed: int
    tasks: Sequence[str] = USUAL_TASKS


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
        Figures by name. For each layer the accuracies of k-nearest neighbours and of a linear
        probe, the regularisation chosen for it, and its accuracy on the training images which that
        was chosen on. For the last of the layers also the quality of its clusters, with `_classes`
        behind the name of as many as there are classes; the accuracies of other numbers of
        neighbours, as `knn_fc7_100`; and those of few images of each class, as `lowshot_fc7_8`.
        Standard deviations have `_sd` behind the name.
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
    figures: dict[str, float] = {}
    for layer in train:
        data = (train[layer], split.train_labels, test[layer], split.test_labels)
        if "knn" in protocol.tasks:
            figures[f"knn_{layer}"] = knn_accuracy(*data)
        if "linear" in protocol.tasks:
            probe = linear_probe(*data, seed=derive_seed(protocol.seed, f"probe {layer}"))
            figures[f"probe_{layer}"] = probe.accuracy
            figures[f"probe_{layer}_c"] = probe.chosen_c
            figures[f"probe_{layer}_validation"] = probe.validation_accuracy
    return figures | _of_clustered_features(list(train)[-1], train, test, split, protocol)


def _of_clustered_features(
    layer: str,
    train: dict[str, np.ndarray],
    test: dict[str, np.ndarray],
    split: Split,
    protocol: Protocol,
) -> dict[str, float]:
    """What is measured of one layer alone, which is the one that is clustered."""
    figures: dict[str, float] = {}
    data = (train[layer], split.train_labels, test[layer], split.test_labels)
    if "clusters" in protocol.tasks:
        figures |= _of_clusters(train[layer], test[layer], split, protocol)
    if "knn" in protocol.tasks:
        others = [number for number in MORE_NEIGHBORS if number != NUM_NEIGHBORS]
        for number, accuracy in knn_accuracies(*data, neighbors=others).items():
            figures[f"knn_{layer}_{number}"] = accuracy
    if "lowshot" in protocol.tasks:
        for found in low_shot(*data, seed=protocol.seed):
            name = f"lowshot_{layer}_{found.size}"
            figures |= {name: found.mean, f"{name}_sd": found.sd, f"{name}_c": found.chosen_c}
    return figures


def _of_clusters(
    train: np.ndarray, test: np.ndarray, split: Split, protocol: Protocol
) -> dict[str, float]:
    """How well clusters of features agree with the classes."""
    options = protocol.clustering
    seed = derive_seed(protocol.seed, "evaluation")
    whitening = fit_whitening(train, options.pca_dim, whiten=options.whiten)
    descriptors = whitening.apply(train)
    clusters = _cluster_descriptors(descriptors, options, seed)
    return cluster_quality(split.train_labels, clusters) | class_clusters(
        descriptors,
        whitening.apply(test),
        split.test_labels,
        len(split.class_names),
        options.kmeans,
        seed=seed,
    )


def measure_pixels(split: Split, protocol: Protocol, image_size: int) -> dict[str, float]:
    """Measures the pixels of the centre crops, averaged to at most 9,216 values, as features.

    Returns:
        Figures as of `measure`, under the names of fc7, in whose place the pixels are.
    """
    images = keras.Input((image_size, image_size, 3), dtype="uint8")
    pixels = keras.Model(images, keras.layers.Rescaling(1 / 255, name="pixels")(images))
    train, test = features_by_layer(pixels, split, protocol, ("pixels",))
    return _measure_from_the_mean("pixels", train["pixels"], test["pixels"], split, protocol)


def measure_patches(split: Split, protocol: Protocol, image_size: int) -> dict[str, float]:
    """Measures what `patches` makes of the centre crops, averaged to at most 32 x 32 pixels.

    Returns:
        Figures as of `measure`, under the names of fc7, in whose place these features are.
    """
    train, test = (
        small_crops(source, image_size, protocol.batch_size) for source in (split.train, split.test)
    )
    found = fit_patches(train, seed=protocol.seed)
    return _measure_from_the_mean("patches", found.apply(train), found.apply(test), split, protocol)


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


def _measure_from_the_mean(
    name: str, train: np.ndarray, test: np.ndarray, split: Split, protocol: Protocol
) -> dict[str, float]:
    """Measures features that are centred by their mean over the training images, in place.

    Uncentred, all are positive, and the cosine that nearest neighbours go by is mostly that of two
    mean images.
    """
    mean = train.mean(axis=0)
    for features in (train, test):
        features -= mean
    figures = measure_features({name: train}, {name: test}, split, protocol)
    return {key.replace(name, "fc7"): value for key, value in figures.items()}


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
    return _cluster_descriptors(whitening.apply(features), options, seed)


def _cluster_descriptors(
    descriptors: np.ndarray, options: ClusteringOptions, seed: int
) -> np.ndarray:
    """Cluster of each descriptor, int32 `(n,)`."""
    by_kmeans = dataclasses.replace(
        options, method="kmeans", num_clusters=min(options.num_clusters, len(descriptors))
    )
    return assign_pseudo_labels(descriptors, by_kmeans, seed=seed, turn=0).assignments


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
