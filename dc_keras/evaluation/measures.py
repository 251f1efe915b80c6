"""How well one network's features tell the classes: the same protocol for all that are compared.

Each task is a function. Those in `_OF_FEATURES` take the features of the labelled images, which all
of them share, and so judge what is no network, too; those in `_OF_NETWORK` take the network.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from dc_keras.clustering.cluster_quality import cluster_quality
from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels
from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.errors import CannotWriteError
from dc_keras.evaluation.class_clusters import find_class_clusters
from dc_keras.evaluation.exhibits import write_picture
from dc_keras.evaluation.knn import MORE_NEIGHBORS, NUM_NEIGHBORS, knn_correct
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layers.measure import LayerOptions, measure_layers
from dc_keras.evaluation.layers.pooled import FULLY_CONNECTED
from dc_keras.evaluation.layers.sgd import sgd_probes
from dc_keras.evaluation.linear_probe import linear_probe
from dc_keras.evaluation.lowshot import low_shot
from dc_keras.evaluation.measured import REMARKS, Measured
from dc_keras.evaluation.retrieval.account import picture
from dc_keras.evaluation.retrieval.retrieve import RetrievalProtocol, measure_retrieval
from dc_keras.evaluation.retrieval.search import Search
from dc_keras.evaluation.semi import semi
from dc_keras.evaluation.subjects import Subject
from dc_keras.evaluation.voc.measure import measure_voc_svm, measure_voc_tuned
from dc_keras.evaluation.voc.voc_images import Voc
from dc_keras.evaluation.voc.voc_tuning import TuningOptions
from dc_keras.seeds import derive_seed

# The last layer of all networks of this program.
_HEAD = "head"
# What a search found, in the folder of a subject.
RETRIEVAL_PICTURE = "retrieval.png"


@dataclasses.dataclass(frozen=True)
class LayerProbes:
    """How all layers are probed.

    Attributes:
        way: "convex", or "sgd" as published.
        epochs: Of the latter; 0 for as many as published.
        ten_crops: Whether the latter tests on ten crops of each image.
    """

    way: str = "convex"
    epochs: int = 0
    ten_crops: bool = False


@dataclasses.dataclass(frozen=True)
class VocTask:
    """Classification of PASCAL VOC.

    Attributes:
        images: The images.
        identity: A checksum of their names and labels.
        tuned: What of the network is trained on, some of "all" and "fc".
        steps: For how many steps.
    """

    images: Voc = dataclasses.field(repr=False)
    identity: str
    tuned: tuple[str, ...]
    steps: int


@dataclasses.dataclass(frozen=True)
class RetrievalTask:
    """Search for images.

    Attributes:
        search: The images, and what is looked for.
        identity: A checksum of both, by the names of images.
        options: How networks describe images.
    """

    search: Search = dataclasses.field(repr=False)
    identity: str
    options: RetrievalProtocol


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How all that are compared are judged.

    Attributes:
        clustering: How features are clustered: as in the training.
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
        layers: Of `layers`: how all layers are probed.
        voc: Of `voc`: PASCAL VOC; None where it is not asked for.
        retrieval: Of `retrieval`: images to search among; None where it is not asked for.
    """

    clustering: ClusteringOptions
    batch_size: int
    seed: int
    layers: LayerProbes = LayerProbes()
    voc: VocTask | None = None
    retrieval: RetrievalTask | None = None

    def of_task(self, task: str) -> str:
        """All that figures of a task follow from, beside images and network, as text."""
        own = {"layers": self.layers, "voc": self.voc, "retrieval": self.retrieval}
        return repr((self.clustering, self.batch_size, self.seed, own.get(task)))


def measure(
    subject: Subject, protocol: Protocol, tasks: tuple[str, ...], folder: pathlib.Path
) -> Iterator[tuple[str, Measured]]:
    """Measures one of those that are compared, task by task.

    Args:
        subject: What is judged.
        protocol: How it is judged.
        tasks: What is measured, some of `config.evaluation.TASKS`.
        folder: Of the subject, for probes that were fitted and for long work that may be cut off.

    Yields:
        A task and what was measured:

        clusters: Quality of the clusters of the last of its layers against the classes, with
            `_classes` behind the name of as many as there are classes.
        knn: Accuracies of k-nearest neighbours of each layer, for the last one those of other
            numbers of neighbours, as `knn_fc7_100`, and of its descriptors, `knn_descriptors`.
        linear: Accuracies of linear probes of each layer, the regularisation chosen for it (`_c`),
            and its accuracy on the training images which that was chosen on (`_validation`).
        layers: Accuracies of linear probes of all layers, as `layer_relu3_3`.
        lowshot: Accuracies of linear SVMs on few images of each class, as `lowshot_fc7_8`.
        semi: Accuracies of the whole network after training on a part of the labels, as `semi_10`.
        voc: Mean average precisions on PASCAL VOC, as `voc_svm_fc7`.
        retrieval: Mean average precisions of searches, as `retrieval_map`.

        All layers, semi, voc and retrieval are of networks alone, and of those by others as far as
        their layers are known: else there is nothing.
    """
    features = functools.cache(subject.features)
    for task in tasks:
        if task in _OF_FEATURES:
            yield task, _OF_FEATURES[task](*features(), subject.split, protocol)
        elif subject.network is None:
            yield task, Measured()
        else:
            yield task, _OF_NETWORK[task](subject, subject.network, protocol, folder)


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
    last = list(train)[-1]
    whitening = _whitening(train[last], protocol.clustering)
    (correct,) = knn_correct(
        whitening.apply(train[last]),
        split.train_labels,
        whitening.apply(test[last]),
        split.test_labels,
        neighbors=[min(NUM_NEIGHBORS, len(train[last]))],
    ).values()
    figures["knn_descriptors"], of_images["knn_descriptors"] = float(correct.mean()), correct
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
    whitening = _whitening(train[layer], options)
    descriptors = whitening.apply(train[layer])
    clusters = _cluster_descriptors(descriptors, options, seed)
    found = find_class_clusters(
        descriptors,
        whitening.apply(test[layer]),
        split.test_labels,
        dataclasses.replace(options, num_clusters=len(split.class_names)),
        seed=seed,
    )
    return Measured(
        cluster_quality(split.train_labels, clusters) | found.figures,
        {"clusters_classes": found.assignments},
    )


def _layers(
    subject: Subject, network: keras.Model, protocol: Protocol, folder: pathlib.Path
) -> Measured:
    split = subject.split
    if _HEAD not in {layer.name for layer in network.layers}:
        # A network by others, whose layers are not known.
        return Measured()
    if protocol.layers.way == "sgd":
        trained = sgd_probes(
            network,
            split,
            folder=folder / "probes_sgd",
            epochs=protocol.layers.epochs or None,
            ten_crops=protocol.layers.ten_crops,
            seed=protocol.seed,
        )
        return Measured(
            {f"layer_{layer}": one.accuracy for layer, one in trained.items()},
            {f"layer_{layer}": one.correct for layer, one in trained.items()},
        )
    options = LayerOptions(protocol.batch_size, protocol.seed, probes=folder / "probes")
    return measure_layers(network, split, options)


def _semi(
    subject: Subject, network: keras.Model, protocol: Protocol, folder: pathlib.Path
) -> Measured:
    return semi(network, subject.split, protocol.batch_size, seed=protocol.seed)


def _voc(
    subject: Subject, network: keras.Model, protocol: Protocol, folder: pathlib.Path
) -> Measured:
    task = protocol.voc
    if task is None:
        return Measured()
    layers = dict(subject.layers)
    is_ours = FULLY_CONNECTED[0] in {layer.name for layer in network.layers}
    if is_ours:
        layers[FULLY_CONNECTED[0]] = FULLY_CONNECTED[0]
    measured = measure_voc_svm(
        network, task.images, layers, batch_size=protocol.batch_size, seed=protocol.seed
    )
    for parts in task.tuned if is_ours else ():
        options = TuningOptions(parts=parts, iterations=task.steps)
        measured |= measure_voc_tuned(
            network, task.images, options, seed=protocol.seed, states=folder / "voc"
        )
    return measured


def _retrieval(
    subject: Subject, network: keras.Model, protocol: Protocol, folder: pathlib.Path
) -> Measured:
    last_convolution = subject.layers.get("conv5")
    if protocol.retrieval is None or last_convolution is None:
        return Measured()
    search = protocol.retrieval.search
    options = dataclasses.replace(protocol.retrieval.options, layer=last_convolution)
    found = measure_retrieval(network, search, options)
    sheet = picture(search.source, found.found)
    if sheet is not None:
        with contextlib.suppress(CannotWriteError):
            write_picture(folder / RETRIEVAL_PICTURE, sheet)
    return Measured(found.figures, details={REMARKS: list(found.remarks)})


_OF_FEATURES: dict[
    str, Callable[[dict[str, np.ndarray], dict[str, np.ndarray], Split, Protocol], Measured]
] = {"clusters": _clusters, "knn": _knn, "linear": _linear, "lowshot": _lowshot}
_OF_NETWORK: dict[str, Callable[[Subject, keras.Model, Protocol, pathlib.Path], Measured]] = {
    "layers": _layers,
    "semi": _semi,
    "voc": _voc,
    "retrieval": _retrieval,
}


def cluster_features(features: np.ndarray, options: ClusteringOptions, seed: int) -> np.ndarray:
    """Clusters features by k-means, as the training does.

    Args:
        features: float32 `(n, feature_dim)`.
        options: Of the training: PCA, k-means and the number of clusters.
        seed: What k-means starts from is drawn with it.

    Returns:
        Cluster of each row, int32 `(n,)`.
    """
    return _cluster_descriptors(_whitening(features, options).apply(features), options, seed)


def _whitening(features: np.ndarray, options: ClusteringOptions) -> Whitening:
    """From features to the descriptors that the training clusters."""
    return fit_whitening(features, options.pca_dim, whiten=options.whiten)


def _cluster_descriptors(
    descriptors: np.ndarray, options: ClusteringOptions, seed: int
) -> np.ndarray:
    """Cluster of each descriptor, int32 `(n,)`."""
    by_kmeans = dataclasses.replace(
        options, method="kmeans", num_clusters=min(options.num_clusters, len(descriptors))
    )
    return assign_pseudo_labels(descriptors, by_kmeans, seed=seed, turn=0).assignments
