"""The result of an evaluation, for people and for programs."""

import dataclasses
import datetime
import itertools
import json
import os
import pathlib
import textwrap

from dc_keras.evaluation.knn import NUM_NEIGHBORS, TEMPERATURE
from dc_keras.evaluation.linear_probe import C_GRID, VALIDATION_FRACTION
from dc_keras.files import explain_write_errors, write_atomically
from dc_keras.machine import library_versions

# The random networks, as rows: as they start, and with fitted batch norm statistics.
RANDOM, CALIBRATED = "random", "random, calibrated"
# What dc-keras cluster was given in place of a training.
GIVEN = "given"

# Figures in the order of the columns: key, group of columns, title within it, format.
_COLUMNS = (
    ("nmi", "clusters of fc7", "NMI", ".3f"),
    ("ari", "clusters of fc7", "ARI", ".3f"),
    ("accuracy", "clusters of fc7", "acc.", ".1%"),
    ("purity", "clusters of fc7", "purity", ".1%"),
    ("knn_conv5", "k-NN", "conv5", ".1%"),
    ("knn_fc7", "k-NN", "fc7", ".1%"),
    ("probe_conv5", "linear probe", "conv5", ".1%"),
    ("probe_fc7", "linear probe", "fc7", ".1%"),
)
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
_TERMINAL_WIDTH, _CELL_WIDTH = 80, 6


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
    date: str = dataclasses.field(default_factory=_now)
    versions: dict[str, str] = dataclasses.field(default_factory=library_versions)
    rows: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

    def add(self, network: str, figures: dict[str, float]) -> None:
        """Adds the figures of a network.

        Args:
            network: Such as "trained", "random", "random, calibrated" or "supervised".
            figures: Any of `nmi`, `ari`, `accuracy`, `purity`, `knn_conv5`, `knn_fc7`,
                `probe_conv5`, `probe_fc7`, as fractions; and `probe_conv5_c`, `probe_fc7_c`, the
                regularisation that was chosen. What is missing is shown as "-".
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
        styles = {key: style for key, _, _, style in _COLUMNS}
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
                f"{title} {trained[key]:{styles[key]}} against {rivals[stronger]:{styles[key]}} "
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
        # A group's title stands over its columns.
        sizes = {
            group: len(list(columns))
            for group, columns in itertools.groupby(_COLUMNS, key=lambda column: column[1])
        }
        rules = [
            f" {group} ".center(size * (_CELL_WIDTH + 1) - 1, "-") for group, size in sizes.items()
        ]
        titles = [title for _, _, title, _ in _COLUMNS]
        width = max(len(network) for network in ("network", *self.rows))
        table = ["  ".join([" " * width, *rules])]
        for first, *cells in (["network", *titles], *self._table()):
            left = iter([cell.rjust(_CELL_WIDTH) for cell in cells])
            groups = [
                " ".join(itertools.islice(left, size)).rjust(len(rule))
                for rule, size in zip(rules, sizes.values(), strict=True)
            ]
            table.append("  ".join([first.ljust(width), *groups]))
        first, *compared = self.headline() or [""]
        sentence = textwrap.wrap(first, _TERMINAL_WIDTH)
        told = [*sentence, *(f"  {line}" for line in compared), ""] if compared else []
        return "\n".join([*header, "", *table, "", *told])

    def to_markdown(self) -> str:
        """The report as Markdown, with an account of how the figures were measured."""
        titles = ["network", *(f"{group}: {title}" for _, group, title, _ in _COLUMNS)]
        rule = ["---", *("---:" for _ in _COLUMNS)]
        table = ["| " + " | ".join(line) + " |" for line in (titles, rule, *self._table())]
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
                *table,
                "",
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

    def _table(self) -> list[list[str]]:
        """The cells of all networks, the name first."""
        return [
            [network, *(_cell(figures.get(key), style) for key, _, _, style in _COLUMNS)]
            for network, figures in self.rows.items()
        ]

    def _method(self) -> list[str]:
        """How the figures were measured, as Markdown."""
        grid = ", ".join(f"{c:g}" for c in C_GRID)
        lines = [
            f"- Split: {self.split}. Every network is measured on the same images, without dropout "
            "or augmentation, and its weights stay as they are.",
            f"- Copies: {' '.join(self._copies()) or 'No test image is a copy or near copy.'}",
            f"- Clusters: the fc7 features of the {self.train_images:,} training images are "
            f"{self._clustering()} NMI is "
            "I(A; B) / sqrt(H(A) H(B)). Accuracy (acc.) is that of the best one-to-one matching of "
            "clusters and classes, so that clusters beyond the number of classes count as wrong. "
            "NMI and purity rise with the number of clusters by themselves: compare figures of "
            "equal numbers only.",
            f"- k-NN: the {min(NUM_NEIGHBORS, self.train_images)} training images of highest "
            f"cosine similarity s vote with weight exp(s / {TEMPERATURE:g}).",
            "- Linear probe: logistic regression on standardised features. Its regularisation C "
            f"was chosen from {grid} on {VALIDATION_FRACTION:.0%} of the training images, never on "
            "the test images; then it was fitted to all training images.",
            "- conv5 is the last convolution after its ReLU, average-pooled to at most 9,216 "
            "values; fc7 is the layer that is clustered, before its ReLU.",
        ]
        if "pixels" in self.rows:
            lines.append(
                "- Pixels: the colours of the centre crops, average-pooled to at most 9,216 "
                "values, less their mean over the training images, in fc7's place."
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


def _cell(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
