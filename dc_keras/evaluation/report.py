"""The result of an evaluation, for people and for programs."""

import dataclasses
import datetime
import json
import math
from typing import Any

import numpy as np

from dc_keras.config.evaluation import USUAL_TASKS
from dc_keras.evaluation.class_table import ClassRow, class_table, common_images
from dc_keras.evaluation.measured import REMARKS, Measured
from dc_keras.evaluation.tables import Table
from dc_keras.machine import library_versions

# The network of the run, as a row.
TRAINED = "trained"
# The random networks: as they start, and with fitted batch norm statistics.
RANDOM, CALIBRATED = "random", "random, calibrated"
SUPERVISED = "supervised"
# What dc-keras cluster was given in place of a training.
GIVEN = "given"

# The figures of the headline in its order, as they are called there and written.
_HEADLINE = {
    "probe_fc7": ("fc7 probe", ".1%"),
    "probe_conv5": ("conv5 probe", ".1%"),
    "knn_fc7": ("fc7 k-NN", ".1%"),
    "knn_conv5": ("conv5 k-NN", ".1%"),
    "nmi": ("NMI", ".3f"),
    "ari": ("ARI", ".3f"),
    "accuracy": ("accuracy of clusters", ".1%"),
    "purity": ("purity of clusters", ".1%"),
}
# What needs no network, as rows and in words.
_WITHOUT_NETWORK = {
    "pixels": "Plain pixels, which need no network,",
    "patches": "Patches, which need no network,",
}
_NONE = np.zeros(0, np.int32)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True)
class Further:
    """What a report tells of a task with images of its own.

    Attributes:
        tables: Its tables.
        method: How it was measured, lines of Markdown.
    """

    tables: tuple[Table, ...]
    method: tuple[str, ...]


@dataclasses.dataclass
class EvaluationReport:
    """Figures of several networks on the same images, and how they were measured.

    Attributes:
        run_dir: The run that was evaluated.
        data_dir: The labelled images.
        train_images: Number of images that probes were fitted on and clusters were made of.
        test_images: Number of images that k-NN and probes were tested on.
        classes: Number of classes.
        num_clusters: Number of clusters that the features were put into.
        seed: The run's seed.
        split: Where the test images come from, as a part of a sentence.
        whitened: Whether features are whitened before they are clustered, as in the training.
        training_method: How the training clustered; here it is k-means always.
        remarks: What a reader should know of the images, a sentence each.
        copies: Test images whose centre crop is that of a training image, pixel by pixel.
        near_copies: Others whose centre crop is nearly that of a training image.
        images: A checksum of all centre crops.
        calibration: What the calibrated network's statistics are of, as a part of a sentence.
        start: Where the weights are that the run started from, if those were measured.
        tasks: What was measured, some of `config.evaluation.TASKS`.
        date: When the report was begun, in UTC.
        versions: Versions of the libraries.
        rows: Figures by network and name, in the order in which they were added.
        details: More than figures by network, such as lists.
        further: What is told of tasks with images of their own.
        class_names: Names of the classes.
        train_labels: Classes of the training images, integers `(n,)`.
        test_names: Names of the test images.
        test_labels: Their classes, integers `(m,)`.
        of_images: Arrays `(m,)` of the test images by network and figure, see `Measured`.
    """

    run_dir: str
    data_dir: str
    train_images: int
    test_images: int
    classes: int
    num_clusters: int
    seed: int
    split: str
    whitened: bool = True
    training_method: str = "kmeans"
    remarks: tuple[str, ...] = ()
    copies: int = 0
    near_copies: int = 0
    images: str = ""
    calibration: str = ""
    start: str = ""
    tasks: tuple[str, ...] = USUAL_TASKS
    date: str = dataclasses.field(default_factory=_now)
    versions: dict[str, str] = dataclasses.field(default_factory=library_versions)
    rows: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    details: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    further: tuple[Further, ...] = ()
    class_names: tuple[str, ...] = ()
    train_labels: np.ndarray = dataclasses.field(default_factory=lambda: _NONE)
    test_names: tuple[str, ...] = ()
    test_labels: np.ndarray = dataclasses.field(default_factory=lambda: _NONE)
    of_images: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    def add(self, network: str, measured: Measured) -> None:
        """Adds what was measured of a network to what is known of it.

        Args:
            network: Such as "trained", "random", "random, calibrated" or "supervised".
            measured: As of `measures.measure`. A figure that is missing is shown as "-", or left
                out where all networks lack it.
        """
        figures = {name: float(value) for name, value in measured.figures.items()}
        self.rows.setdefault(network, {}).update(figures)
        self.details.setdefault(network, {}).update(measured.details)
        self.of_images.setdefault(network, {}).update(measured.of_images)

    def headline(self) -> list[str]:
        """The trained network against the stronger of the random ones, figure by figure.

        Returns:
            A sentence that says where it is better and where not, then a line for each figure;
            nothing where there are no such networks.
        """
        trained = self.rows.get(TRAINED, {})
        random = {name: self.rows[name] for name in (RANDOM, CALIBRATED) if name in self.rows}
        both = "both random networks" if len(random) > 1 else f"the {''.join(random)} network"
        lines: list[str] = []
        better: list[str] = []
        others: list[str] = []
        for key, (title, style) in _HEADLINE.items():
            rivals = {name: figures[key] for name, figures in random.items() if key in figures}
            if key not in trained or not rivals:
                continue
            stronger = max(rivals, key=rivals.__getitem__)
            (better if trained[key] > rivals[stronger] else others).append(title)
            which = f"{stronger}, the stronger of the two" if len(rivals) > 1 else stronger
            lines.append(
                f"{title} {trained[key]:{style}} against {rivals[stronger]:{style}} ({which})"
            )
        if not lines:
            return []
        where = ", ".join(better) if others else "all figures"
        parts = [f"better than {both} in {where}"] if better else []
        parts += [f"not better in {', '.join(others)}"] if better and others else []
        parts += [f"not better than {both} in any figure"] if not better else []
        return [f"The trained network is {'; '.join(parts)}.", *lines]

    def against_others(self) -> list[str]:
        """What needs no training by clusters and is better all the same, a sentence each."""
        trained, told = self.rows.get(TRAINED, {}), []
        for name, what in _WITHOUT_NETWORK.items():
            figures = self.rows.get(name, {})
            better = [
                f"{title} ({figures[key]:{style}} against {trained[key]:{style}})"
                for key, (title, style) in _HEADLINE.items()
                if key in figures and figures[key] > trained.get(key, math.inf)
            ]
            if better:
                told.append(f"{what} are better in {', '.join(better)}.")
        supervised = self.rows.get(SUPERVISED, {})
        behind = [
            f"{title} {supervised[key]:{style}}"
            for key, (title, style) in _HEADLINE.items()
            if key in supervised and key in trained and supervised[key] <= trained[key]
        ]
        if behind:
            told.append(
                f"The network trained with the labels is not better in {', '.join(behind)}: as "
                "many passes are too few for it, or too many."
            )
        return told

    def to_json(self) -> str:
        """The report as a JSON object, with all digits; what is of images is in `to_arrays`."""
        content = dataclasses.asdict(
            dataclasses.replace(
                self, train_labels=_NONE, test_labels=_NONE, of_images={}, further=()
            )
        )
        for name in ("test_names", "train_labels", "test_labels", "of_images", "further"):
            del content[name]
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What was measured of each test image.

        Returns:
            `names` and `labels` of the m test images, and under "NETWORK/FIGURE" the arrays `(m,)`
            of `of_images`.
        """
        arrays = {
            f"{network}/{figure}": array
            for network, figures in self.of_images.items()
            for figure, array in figures.items()
        }
        # Bytes that are no UTF-8 stay what they are.
        names = [name.encode("utf-8", "surrogateescape") for name in self.test_names]
        return {"names": np.array(names), "labels": self.test_labels, **arrays}

    def setting(self) -> str:
        """How many images, classes and clusters, in words."""
        if not self.test_images:
            return f"{self.train_images:,} images of the run, without labels, seed {self.seed}"
        return (
            f"{self.train_images:,} training and {self.test_images:,} test images, "
            f"{self.classes:,} classes, {self.num_clusters:,} clusters"
            f"{' of k-means' if self.training_method != 'kmeans' else ''}, seed {self.seed}"
        )

    def class_counts(self) -> np.ndarray | None:
        """Test images that classes and clusters have in common, as of `common_images`.

        The clusters are those of the first network and seed, as many as classes; None where they
        were not measured.
        """
        clusters = next(iter(self.of_images.values()), {}).get("clusters_classes")
        if clusters is None:
            return None
        return common_images(self.test_labels, clusters, self.classes)

    def by_class(self) -> list[ClassRow]:
        """What these clusters make of each class; nothing where they were not measured."""
        counts = self.class_counts()
        return [] if counts is None else class_table(counts, self.class_names)

    def notes(self) -> list[str]:
        """What a reader should know of the images: before, and while they were looked for."""
        found = [remark for details in self.details.values() for remark in details.get(REMARKS, ())]
        # Networks whose images are enlarged alike say so alike.
        return [*self.remarks, *dict.fromkeys(found)]

    def told_copies(self) -> list[str]:
        """Sentences about test images that are training images, too, or nearly."""
        of = f"of {self.test_images:,} test images"
        told = []
        if self.copies:
            told.append(
                f"{self.copies:,} {of} have the centre crop of a training image, pixel by pixel: "
                "probes and neighbours know their classes."
            )
        if self.near_copies:
            others = "others " if self.copies else ""
            told.append(
                f"{self.near_copies:,} {others}{of} have a near copy among the training images, "
                "such as the same picture encoded anew, resized, brightened or cut a little."
            )
        return told

    def told_versions(self) -> str:
        """The versions of the libraries, in words."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())
