"""How well one network's features tell the classes: the same protocol for all that are compared.

Quality of the clusters of its features against the labels, and how well labels can be read off its
frozen features by nearest neighbours, by a linear probe, and by linear SVMs from a few images.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from dc_keras.clustering.cluster_quality import cluster_quality
from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.evaluation.class_clusters import class_clusters
from dc_keras.evaluation.knn import MORE_NEIGHBORS, NUM_NEIGHBORS, knn_correct
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.linear_probe import linear_probe
from dc_keras.evaluation.lowshot import low_shot
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.subjects import Subject
from dc_keras.seeds import derive_seed


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How all that are compared are judged.

    Attributes:
        clustering: How features are clustered: as in the training.
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
    """

    clustering: ClusteringOptions
    batch_size: int
    seed: int


def measure(
    subject: Subject, protocol: Protocol, tasks: tuple[str, ...]
) -> Iterator[tuple[str, Measured]]:
    """Measures one of those that are compared, task by task.

    Args:
        subject: What is judged.
        protocol: How it is judged.
        tasks: What is measured, some of `config.evaluation.TASKS`.

    Yields:
        A task and what was measured:

        clusters: Quality of the clusters of the last of its layers against the classes, with
            `_classes` behind the name of as many as there are classes.
        knn: Accuracies of k-nearest neighbours of each layer, and for the last one those of other
            numbers of neighbours, as `knn_fc7_100`.
        linear: Accuracies of linear probes of each layer, the regularisation chosen for it (`_c`),
            and its accuracy on the training images which that was chosen on (`_validation`).
        lowshot: Accuracies of linear SVMs on few images of each class, as `lowshot_fc7_8`.
    """
    features = functools.cache(subject.features)
    for task in tasks:
        yield task, _BY_TASK[task](*features(), subject.split, protocol)


def _knn(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], split: Split, protocol: Protocol
) -> Measured:
    figures: dict[str, float] = {}
    of_images: dict[str, np.ndarray] = {}
    for layer in train:
        data = (train[layer], split.train_labels, test[layer], split.test_labels)
        usual = min(NUM_NEIGHBORS, len(train[layer]))
        # Of the last layer, which is the one that is clustered, more are told.
        others = MORE_NEIGHBORS if layer == list(train)[-1] else ()
        for number, correct in knn_correct(*data, neighbors=sorted({usual, *others})).items():
            name = f"knn_{layer}" if number == usual else f"knn_{layer}_{number}"
            figures[name], of_images[name] = float(correct.mean()), correct
    return Measured(figures, of_images)


def _linear(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], split: Split, protocol: Protocol
) -> Measured:
    figures: dict[str, float] = {}
    of_images: dict[str, np.ndarray] = {}
    for layer in train:
        data = (train[layer], split.train_labels, test[layer], split.test_labels)
        probe = linear_probe(*data, seed=derive_seed(protocol.seed, f"probe {layer}"))
        figures |= {
            f"probe_{layer}": probe.accuracy,
            f"probe_{layer}_c": probe.chosen_c,
            f"probe_{layer}_validation": probe.validation_accuracy,
        }
        of_images[f"probe_{layer}"] = probe.correct
    return Measured(figures, of_images)


def _lowshot(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], split: Split, protocol: Protocol
) -> Measured:
    layer = list(train)[-1]
    data = (train[layer], split.train_labels, test[layer], split.test_labels)
    figures: dict[str, float] = {}
    for found in low_shot(*data, seed=protocol.seed):
        name = f"lowshot_{layer}_{found.size}"
        figures |= {name: found.mean, f"{name}_sd": found.sd, f"{name}_c": found.chosen_c}
    return Measured(figures)


def _clusters(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], split: Split, protocol: Protocol
) -> Measured:
    """How well clusters of features agree with the classes."""
    layer = list(train)[-1]
    options = protocol.clustering
    seed = derive_seed(protocol.seed, "evaluation")
    whitening = fit_whitening(train[layer], options.pca_dim, whiten=options.whiten)
    descriptors = whitening.apply(train[layer])
    clusters = _cluster_descriptors(descriptors, options, seed)
    return Measured(
        cluster_quality(split.train_labels, clusters)
        | class_clusters(
            descriptors,
            whitening.apply(test[layer]),
            split.test_labels,
            len(split.class_names),
            options.kmeans,
            seed=seed,
        )
    )


_BY_TASK: dict[
    str, Callable[[dict[str, np.ndarray], dict[str, np.ndarray], Split, Protocol], Measured]
] = {"clusters": _clusters, "knn": _knn, "linear": _linear, "lowshot": _lowshot}


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
