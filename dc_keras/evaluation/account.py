"""What a report tells of each task: its tables, and how the figures were measured."""

from collections.abc import Iterable

from dc_keras.evaluation import lowshot, semi
from dc_keras.evaluation.class_clusters import SEEDS, STARTS
from dc_keras.evaluation.knn import MORE_NEIGHBORS, NUM_NEIGHBORS, TEMPERATURE
from dc_keras.evaluation.layers import account as layers_account
from dc_keras.evaluation.layers.measure import chosen_sentence
from dc_keras.evaluation.linear_probe import C_GRID, VALIDATION_FRACTION
from dc_keras.evaluation.lowshot import DRAWS, SIZES
from dc_keras.evaluation.patches import MAX_SIDE, NUM_CENTROIDS, NUM_PATCHES, PATCH_SIZE
from dc_keras.evaluation.report import CALIBRATED, EvaluationReport
from dc_keras.evaluation.tables import Column, Table

# The first table, and the order of its columns.
_MAIN = Table(
    (
        Column("nmi", "clusters of fc7", "NMI", ".3f"),
        Column("ari", "clusters of fc7", "ARI", ".3f"),
        Column("accuracy", "clusters of fc7", "acc.", ".1%"),
        Column("purity", "clusters of fc7", "purity", ".1%"),
        Column("knn_conv5", "k-NN", "conv5", ".1%"),
        Column("knn_fc7", "k-NN", "fc7", ".1%"),
        Column("knn_descriptors", "k-NN", "descriptors", ".1%"),
        Column("probe_conv5", "linear probe", "conv5", ".1%"),
        Column("probe_fc7", "linear probe", "fc7", ".1%"),
    )
)


def tables_of(report: EvaluationReport) -> list[Table]:
    """The tables that have figures."""
    at_k, at_classes = f"NMI, k = {report.num_clusters}", f"NMI, k = {report.classes}"
    clusters = Table(
        (
            Column("nmi_arithmetic", at_k, "arith.", ".3f"),
            Column("nmi_classes", at_classes, "geom.", ".3f"),
            Column("nmi_arithmetic_classes", at_classes, "arith.", ".3f"),
            Column("ari_classes", f"k = {report.classes}", "ARI", ".3f"),
            Column("accuracy_classes", f"k = {report.classes}", "acc.", ".1%"),
            Column("purity_classes", f"k = {report.classes}", "purity", ".1%"),
        ),
        f"As many clusters as classes (k = {report.classes}) on the test images, mean and "
        f"standard deviation of {SEEDS} seeds; arithmetic NMI of those above",
        "As many clusters as classes",
    )
    neighbors = [number for number in MORE_NEIGHBORS if number <= report.train_images]
    knn = Table(
        [
            Column(
                "knn_fc7" if number == NUM_NEIGHBORS else f"knn_fc7_{number}",
                "neighbours of fc7",
                str(number),
                ".1%",
            )
            for number in neighbors
        ],
        "Nearest neighbours by their number",
        "Nearest neighbours",
    )
    shots = Table(
        [Column(f"lowshot_fc7_{size}", "images of each class", str(size), ".1%") for size in SIZES],
        f"Low-shot: linear SVM on fc7, mean and standard deviation of {DRAWS} draws",
        "Few labels",
    )
    further = [table for one in report.further for table in one.tables]
    found = [_MAIN, clusters, knn, *layers_account.tables(report.rows), shots, *semi.tables()]
    tables = [table.of(report.rows) for table in (*found, *further)]
    return [table for table in tables if table.columns]


def layer_to_take(report: EvaluationReport) -> list[str]:
    """Which layer of the first network a user should take, a sentence or none."""
    sentence = chosen_sentence(next(iter(report.rows.values()), {}))
    return [sentence] if sentence else []


def method_of(report: EvaluationReport) -> list[str]:
    """How the figures were measured, as Markdown."""
    lines = [
        f"- Split: {report.split}. Every network is measured on the same images, without dropout "
        "or augmentation, and its weights stay as they are.",
        f"- Copies: {' '.join(report.told_copies()) or 'No test image is a copy or near copy.'}",
        *(line for task in report.tasks for line in _method_of(task, report)),
        *(line for one in report.further for line in one.method),
        "- conv5 is the last convolution after its ReLU, average-pooled to at most 9,216 "
        "values; fc7 is the layer that is clustered, before its ReLU.",
    ]
    if "pixels" in report.rows:
        lines.append(
            "- Pixels: the colours of the centre crops, average-pooled to at most 9,216 "
            "values, less their mean over the training images, in fc7's place."
        )
    if "patches" in report.rows:
        lines.append(
            "- Patches: as of Coates, Lee and Ng 2011. Of the centre crops of training images, "
            f"averaged to {MAX_SIDE} x {MAX_SIDE} pixels where they are larger, "
            f"{NUM_PATCHES:,} random patches of {PATCH_SIZE} x {PATCH_SIZE} pixels are "
            f"contrast-normalised, ZCA-whitened and put into {NUM_CENTROIDS:,} clusters. How "
            "much nearer than on average the centroids are to the patches at all places "
            "(triangle activation), averaged over quadrants, less the mean over the training "
            "images, stands in fc7's place."
        )
    if CALIBRATED in report.rows:
        lines.append(
            f"- Random: the network with the initial weights of the run's seed, whose batch "
            f"norm statistics are still 0 and 1, as in the public code. Calibrated: the same "
            f"weights, with statistics averaged over {report.calibration}, without augmentation."
        )
    if report.start:
        lines.append(
            f"- Init: the network that the run started from, with weights of `{report.start}` as "
            "they are there now; layers that do not fit have the random ones of the run's seed."
        )
    for network, figures in report.rows.items():
        chosen = [
            f"{figures[f'probe_{layer}_c']:g} for {layer}"
            for layer in ("conv5", "fc7")
            if f"probe_{layer}_c" in figures
        ]
        if chosen:
            lines.append(f"- C chosen for the {network} network: {', '.join(chosen)}.")
    return lines


def _method_of(task: str, report: EvaluationReport) -> list[str]:
    """How the figures of a task were measured, as Markdown."""
    if task == "clusters":
        return [
            f"- Clusters: the fc7 features of the {report.train_images:,} training images are "
            f"{_clustering(report)} NMI is the geometric one, "
            "I(A; B) / sqrt(H(A) H(B)), unless it is said to be arithmetic, "
            "2 I(A; B) / (H(A) + H(B)). Accuracy (acc.) is that of the best one-to-one "
            "matching of clusters and classes, so that clusters beyond the number of classes "
            "count as wrong. NMI and purity rise with the number of clusters by themselves: "
            "compare figures of equal numbers only.",
            f"- As many clusters as classes: k-means finds {report.classes:,} centroids among "
            f"the same descriptors of the training images, the best of {STARTS} starts by the "
            "mean squared distance to them; figures are of the test images, each in the "
            "cluster of its nearest centroid. Mean and standard deviation (of a sample) of "
            f"{SEEDS} such seeds.",
        ]
    if task == "knn":
        return [
            f"- k-NN: the {min(NUM_NEIGHBORS, report.train_images)} training images of highest "
            f"cosine similarity s vote with weight exp(s / {TEMPERATURE:g}). Descriptors are fc7 "
            f"features {'whitened' if report.whitened else 'reduced by PCA'}, in which clusters "
            "are found and the gallery looks for similar images."
        ]
    if task == "layers":
        return _of_layers(report)
    if task == "semi":
        return semi.method(report.train_labels, report.rows)
    if task == "linear":
        return [
            "- Linear probe: logistic regression on standardised features. Its regularisation "
            f"C was chosen from {_listed(C_GRID)} on {VALIDATION_FRACTION:.0%} of the training "
            "images, never on the test images; then it was fitted to all training images."
        ]
    if task != "lowshot":
        return []
    return [
        "- Low-shot: a linear SVM with squared hinge loss, one class against the others, on "
        "standardised fc7 features over the root of their number, fitted to so many training "
        f"images of each class and tested on all test images. Its C was chosen from "
        f"{_listed(lowshot.C_GRID)} for each number of images on {VALIDATION_FRACTION:.0%} of "
        "the training images, which none was drawn from, never on the test images. Mean and "
        f"standard deviation (of a sample) of {DRAWS} draws."
    ]


def _of_layers(report: EvaluationReport) -> list[str]:
    """How all layers were probed."""
    figures = next(iter(report.rows.values()), {})
    return layers_account.method(figures) or [
        "- Linear probes of all layers as published: heads of all layers are trained by SGD on "
        "random crops of the frozen network's images, all in one pass an epoch, and tested after "
        "the last epoch. Rates, weight decay and number of epochs are those of Caron et al. 2019 "
        "(VGG16) and 2018 (AlexNet); for fc6 and fc7, which have none there, those of the last "
        "convolution."
    ]


def _clustering(report: EvaluationReport) -> str:
    """What becomes of the features, as the end of a sentence."""
    reduced = "whitened" if report.whitened else "reduced by PCA, not whitened,"
    into = f"{reduced} and put into {report.num_clusters:,} clusters"
    if report.training_method == "kmeans":
        return f"{into} as in training."
    return (
        f"{into} by k-means, and not by --clustering={report.training_method} as in training: "
        "that finds another number of clusters for each network, so that figures could not be "
        "compared."
    )


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
