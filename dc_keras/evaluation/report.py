"""The result of an evaluation, for people and for programs."""

import dataclasses
import datetime
import json
import os
import pathlib
import textwrap
from collections.abc import Iterable

from dc_keras.config.programs import USUAL_TASKS
from dc_keras.evaluation import lowshot
from dc_keras.evaluation.class_clusters import SEEDS, STARTS
from dc_keras.evaluation.knn import MORE_NEIGHBORS, NUM_NEIGHBORS, TEMPERATURE
from dc_keras.evaluation.linear_probe import C_GRID, VALIDATION_FRACTION
from dc_keras.evaluation.lowshot import DRAWS, SIZES
from dc_keras.evaluation.patches import MAX_SIDE, NUM_CENTROIDS, NUM_PATCHES, PATCH_SIZE
from dc_keras.evaluation.tables import Column, Table, markdown_table, plain_table
from dc_keras.files import explain_write_errors, write_atomically
from dc_keras.machine import library_versions

# The random networks, as rows: as they start, and with fitted batch norm statistics.
RANDOM, CALIBRATED = "random", "random, calibrated"
# What dc-keras cluster was given in place of a training.
GIVEN = "given"

# The first table, and the order of its columns.
_MAIN = Table(
    (
        Column("nmi", "clusters of fc7", "NMI", ".3f"),
        Column("ari", "clusters of fc7", "ARI", ".3f"),
        Column("accuracy", "clusters of fc7", "acc.", ".1%"),
        Column("purity", "clusters of fc7", "purity", ".1%"),
        Column("knn_conv5", "k-NN", "conv5", ".1%"),
        Column("knn_fc7", "k-NN", "fc7", ".1%"),
        Column("probe_conv5", "linear probe", "conv5", ".1%"),
        Column("probe_fc7", "linear probe", "fc7", ".1%"),
    )
)
_STYLES = {column.key: column.style for column in _MAIN.columns}
# The same figures in the order of the headline, as they are called there.
_HEADLINE = {
    "probe_fc7": "fc7 probe",
    "probe_conv5": "conv5 probe",
    "knn_fc7": "fc7 k-NN",
    "knn_conv5": "conv5 k-NN",
    "nmi": "NMI",
    "ari": "ARI",
    "accuracy": "acc.",
    "purity": "purity",
}
_TERMINAL_WIDTH = 80


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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
        calibration: What the calibrated network's statistics are of, as a part of a sentence.
        start: Where the weights are that the run started from, if those were measured.
        tasks: What was measured, some of `config.programs.TASKS`.
        date: When the report was begun, in UTC.
        versions: Versions of the libraries.
        rows: Figures by network and name, in the order in which they were added.
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
    calibration: str = ""
    start: str = ""
    tasks: tuple[str, ...] = USUAL_TASKS
    date: str = dataclasses.field(default_factory=_now)
    versions: dict[str, str] = dataclasses.field(default_factory=library_versions)
    rows: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def add(self, network: str, figures: dict[str, float]) -> None:
        """Adds the figures of a network.

        Args:
            network: Such as "trained", "random", "random, calibrated" or "supervised".
            figures: As of `measures.measure`. What is missing is shown as "-", or left out where
                all networks lack it.
        """
        self.rows[network] = {name: float(value) for name, value in figures.items()}

    def headline(self) -> list[str]:
        """The trained network against the stronger of the random ones, figure by figure.

        Returns:
            A sentence that says where it is better and where not, then a line for each figure;
            nothing where there are no such networks.
        """
        trained = self.rows.get("trained", {})
        random = {name: self.rows[name] for name in (RANDOM, CALIBRATED) if name in self.rows}
        both = "both random networks" if len(random) > 1 else f"the {''.join(random)} network"
        lines: list[str] = []
        better: list[str] = []
        others: list[str] = []
        for key, title in _HEADLINE.items():
            rivals = {name: figures[key] for name, figures in random.items() if key in figures}
            if key not in trained or not rivals:
                continue
            stronger = max(rivals, key=rivals.__getitem__)
            (better if trained[key] > rivals[stronger] else others).append(title)
            which = f"{stronger}, the stronger of the two" if len(rivals) > 1 else stronger
            lines.append(
                f"{title} {trained[key]:{_STYLES[key]}} against {rivals[stronger]:{_STYLES[key]}} "
                f"({which})"
            )
        if not lines:
            return []
        where = ", ".join(better) if others else "all figures"
        parts = [f"better than {both} in {where}"] if better else []
        parts += [f"not better in {', '.join(others)}"] if better and others else []
        parts += [f"not better than {both} in any figure"] if not better else []
        return [f"The trained network is {'; '.join(parts)}.", *lines]

    def to_json(self) -> str:
        """The report as a JSON object, with all digits."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_terminal(self) -> str:
        """The report as plain text, whose table fits 80 columns."""
        header = [f"Evaluation of {self.run_dir}", f"  images    {self.data_dir}"]
        header += textwrap.wrap(
            f"{self._setting()}, {self.split}; {self.date}; {self._versions()}",
            _TERMINAL_WIDTH,
            initial_indent="  setting   ",
            subsequent_indent=" " * 12,
        )
        header += [
            line
            for remark in (*self.remarks, *self._copies())
            for line in textwrap.wrap(
                remark, _TERMINAL_WIDTH, initial_indent="  note      ", subsequent_indent=" " * 12
            )
        ]
        tables = []
        for table in self._tables():
            title = textwrap.wrap(f"{table.title}:", _TERMINAL_WIDTH) if table.title else []
            tables += [*title, *plain_table(table, self.rows), ""]
        first, *compared = self.headline() or [""]
        sentence = textwrap.wrap(first, _TERMINAL_WIDTH)
        told = [*sentence, *(f"  {line}" for line in compared), ""] if compared else []
        return "\n".join([*header, "", *tables, *told])

    def to_markdown(self) -> str:
        """The report as Markdown, with an account of how the figures were measured."""
        tables = []
        for table in self._tables():
            title = [f"{table.title}:", ""] if table.title else []
            tables += [*title, *markdown_table(table, self.rows), ""]
        first, *compared = self.headline() or [""]
        told = [first, "", *(f"- {line}" for line in compared), ""] if compared else []
        return "\n".join(
            [
                "# Evaluation",
                "",
                f"- Run: `{self.run_dir}`",
                f"- Images: `{self.data_dir}`",
                f"- Setting: {self._setting()}",
                f"- Date: {self.date}",
                f"- Versions: {self._versions()}",
                *(f"- Note: {remark}" for remark in self.remarks),
                "",
                *told,
                *tables,
                "## How it was measured",
                "",
                *self._method(),
                "",
            ]
        )

    def write(self, directory: str | os.PathLike, stem: str = "report") -> pathlib.Path:
        """Writes the report as JSON and as Markdown.

        Args:
            directory: Where to; made if it does not exist.
            stem: Name of the files without their ending.

        Returns:
            The path of the Markdown file.

        Raises:
            CannotWriteError: If the disk is full, or does not let it be written.
        """
        directory = pathlib.Path(directory)
        with explain_write_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        for ending, text in ((".json", self.to_json()), (".md", self.to_markdown())):
            with write_atomically(directory / (stem + ending)) as file:
                file.write(text)
        return directory / f"{stem}.md"

    def _setting(self) -> str:
        return (
            f"{self.train_images:,} training and {self.test_images:,} test images, "
            f"{self.classes:,} classes, {self.num_clusters:,} clusters"
            f"{' of k-means' if self.training_method != 'kmeans' else ''}, seed {self.seed}"
        )

    def _copies(self) -> list[str]:
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

    def _clustering(self) -> str:
        """What becomes of the features, as the end of a sentence."""
        reduced = "whitened" if self.whitened else "reduced by PCA, not whitened,"
        into = f"{reduced} and put into {self.num_clusters:,} clusters"
        if self.training_method == "kmeans":
            return f"{into} as in training."
        return (
            f"{into} by k-means, and not by --clustering={self.training_method} as in training: "
            "that finds another number of clusters for each network, so that figures could not be "
            "compared."
        )

    def _versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())

    def _tables(self) -> list[Table]:
        """The tables that have figures."""
        at_k, at_classes = f"NMI, k = {self.num_clusters}", f"NMI, k = {self.classes}"
        clusters = Table(
            (
                Column("nmi_arithmetic", at_k, "arith.", ".3f"),
                Column("nmi_classes", at_classes, "geom.", ".3f"),
                Column("nmi_arithmetic_classes", at_classes, "arith.", ".3f"),
                Column("ari_classes", f"k = {self.classes}", "ARI", ".3f"),
                Column("accuracy_classes", f"k = {self.classes}", "acc.", ".1%"),
                Column("purity_classes", f"k = {self.classes}", "purity", ".1%"),
            ),
            f"As many clusters as classes (k = {self.classes}) on the test images, mean and "
            f"standard deviation of {SEEDS} seeds; arithmetic NMI of those above",
        )
        neighbors = [number for number in MORE_NEIGHBORS if number <= self.train_images]
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
        )
        shots = Table(
            [
                Column(f"lowshot_fc7_{size}", "images of each class", str(size), ".1%")
                for size in SIZES
            ],
            f"Low-shot: linear SVM on fc7, mean and standard deviation of {DRAWS} draws",
        )
        tables = [table.of(self.rows) for table in (_MAIN, clusters, knn, shots)]
        return [table for table in tables if table.columns]

    def _method(self) -> list[str]:
        """How the figures were measured, as Markdown."""
        lines = [
            f"- Split: {self.split}. Every network is measured on the same images, without dropout "
            "or augmentation, and its weights stay as they are.",
            f"- Copies: {' '.join(self._copies()) or 'No test image is a copy or near copy.'}",
            *(line for task in self.tasks for line in self._method_of(task)),
            "- conv5 is the last convolution after its ReLU, average-pooled to at most 9,216 "
            "values; fc7 is the layer that is clustered, before its ReLU.",
        ]
        if "pixels" in self.rows:
            lines.append(
                "- Pixels: the colours of the centre crops, average-pooled to at most 9,216 "
                "values, less their mean over the training images, in fc7's place."
            )
        if "patches" in self.rows:
            lines.append(
                "- Patches: as of Coates, Lee and Ng 2011. Of the centre crops of training images, "
                f"averaged to {MAX_SIDE} x {MAX_SIDE} pixels where they are larger, "
                f"{NUM_PATCHES:,} random patches of {PATCH_SIZE} x {PATCH_SIZE} pixels are "
                f"contrast-normalised, ZCA-whitened and put into {NUM_CENTROIDS:,} clusters. How "
                "much nearer than on average the centroids are to the patches at all places "
                "(triangle activation), averaged over quadrants, less the mean over the training "
                "images, stands in fc7's place."
            )
        if CALIBRATED in self.rows:
            lines.append(
                f"- Random: the network with the initial weights of the run's seed, whose batch "
                f"norm statistics are still 0 and 1, as in the public code. Calibrated: the same "
                f"weights, with statistics averaged over {self.calibration}, without augmentation."
            )
        if self.start:
            lines.append(
                f"- Init: the network that the run started from, with weights of `{self.start}` as "
                "they are there now; layers that do not fit have the random ones of the run's seed."
            )
        for network, figures in self.rows.items():
            chosen = [
                f"{figures[f'probe_{layer}_c']:g} for {layer}"
                for layer in ("conv5", "fc7")
                if f"probe_{layer}_c" in figures
            ]
            if chosen:
                lines.append(f"- C chosen for the {network} network: {', '.join(chosen)}.")
        return lines

    def _method_of(self, task: str) -> list[str]:
        """How the figures of a task were measured, as Markdown."""
        if task == "clusters":
            return [
                f"- Clusters: the fc7 features of the {self.train_images:,} training images are "
                f"{self._clustering()} NMI is the geometric one, "
                "I(A; B) / sqrt(H(A) H(B)), unless it is said to be arithmetic, "
                "2 I(A; B) / (H(A) + H(B)). Accuracy (acc.) is that of the best one-to-one "
                "matching of clusters and classes, so that clusters beyond the number of classes "
                "count as wrong. NMI and purity rise with the number of clusters by themselves: "
                "compare figures of equal numbers only.",
                f"- As many clusters as classes: k-means finds {self.classes:,} centroids among "
                f"the same descriptors of the training images, the best of {STARTS} starts by the "
                "mean squared distance to them; figures are of the test images, each in the "
                "cluster of its nearest centroid. Mean and standard deviation (of a sample) of "
                f"{SEEDS} such seeds.",
            ]
        if task == "knn":
            return [
                f"- k-NN: the {min(NUM_NEIGHBORS, self.train_images)} training images of highest "
                f"cosine similarity s vote with weight exp(s / {TEMPERATURE:g})."
            ]
        if task == "linear":
            return [
                "- Linear probe: logistic regression on standardised features. Its regularisation "
                f"C was chosen from {_listed(C_GRID)} on {VALIDATION_FRACTION:.0%} of the training "
                "images, never on the test images; then it was fitted to all training images."
            ]
        return [
            "- Low-shot: a linear SVM with squared hinge loss, one class against the others, on "
            "standardised fc7 features over the root of their number, fitted to so many training "
            f"images of each class and tested on all test images. Its C was chosen from "
            f"{_listed(lowshot.C_GRID)} for each number of images on {VALIDATION_FRACTION:.0%} of "
            "the training images, which none was drawn from, never on the test images. Mean and "
            f"standard deviation (of a sample) of {DRAWS} draws."
        ]


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
