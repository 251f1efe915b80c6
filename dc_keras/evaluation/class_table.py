"""Clusters looked at class by class: which clusters are a class, and what it is confused with."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

TITLES = ("class", "images", "clusters", "recall", "precision", "purity", "most confused with")


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """One class among the clusters.

    Attributes:
        name: Of the class.
        images: How many it has.
        clusters: Those that stand for it.
        recall: Part of its images that are in these; nan of a class without images.
        precision: Part of the images in these that are of the class; nan where they have none.
        purity: How much of its cluster is of the same class, mean over the images of the class.
        confused_with: The class in whose clusters most of its other images are; empty for none.
        confused: Part of its images that are there.
    """

    name: str
    images: int
    clusters: tuple[int, ...]
    recall: float
    precision: float
    purity: float
    confused_with: str
    confused: float


def common_images(labels: np.ndarray, assignments: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the images that a class and a cluster have in common.

    Args:
        labels: Class of each image, integers `(n,)` in [0, num_classes).
        assignments: Cluster of each image, integers `(n,)` from 0.
        num_classes: Number of classes.

    Returns:
        int64 `(num_classes, k)`, with k one more than the last cluster that has an image.

    >>> common_images(np.array([0, 0, 1]), np.array([2, 0, 2]), 2).tolist()
    [[1, 0, 1], [0, 0, 1]]
    """
    counts = np.zeros((num_classes, int(assignments.max()) + 1), np.int64)
    np.add.at(counts, (labels, assignments), 1)
    return counts


def class_of_each_cluster(counts: np.ndarray) -> np.ndarray:
    """Which class a cluster stands for.

    Args:
        counts: As of `common_images`, `(classes, k)`.

    Returns:
        Integers `(k,)`. Of no more clusters than classes those of the one-to-one matching with the
        most images, of more clusters the most frequent class of each. A cluster without images
        stands for none where there are more, -1.

    >>> class_of_each_cluster(np.array([[5, 4], [4, 0]])).tolist()
    [1, 0]
    >>> class_of_each_cluster(np.array([[5, 4, 0, 0], [4, 0, 1, 0]])).tolist()
    [0, 0, 1, -1]
    """
    classes, clusters = counts.shape
    if clusters > classes:
        return np.where(counts.any(axis=0), counts.argmax(axis=0), -1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    found = np.full(clusters, -1)
    found[columns] = rows
    return found


def confusion_matrix(counts: np.ndarray) -> np.ndarray:
    """Counts the images of a class that are in the clusters of another.

    Args:
        counts: As of `common_images`, `(classes, k)`.

    Returns:
        int64 `(classes, classes)`: of the class of the row, in clusters of the class of the column.
    """
    stands_for = class_of_each_cluster(counts)
    confusion = np.zeros((len(counts), len(counts)), np.int64)
    known = stands_for >= 0
    np.add.at(confusion.T, stands_for[known], counts.T[known])
    return confusion


def class_table(counts: np.ndarray, class_names: Sequence[str]) -> list[ClassRow]:
    """Looks at the clusters class by class.

    Args:
        counts: As of `common_images`, `(classes, k)`.
        class_names: Names of the classes.

    Returns:
        A row for each class, in order.
    """
    stands_for, confusion = class_of_each_cluster(counts), confusion_matrix(counts)
    share = counts / np.maximum(counts.sum(axis=0), 1)
    rows = []
    for number, name in enumerate(class_names):
        images, inside = int(counts[number].sum()), int(confusion[:, number].sum())
        own = int(confusion[number, number])
        others = confusion[number].copy()
        others[number] = 0
        most = int(others.argmax())
        rows.append(
            ClassRow(
                name=name,
                images=images,
                clusters=tuple(np.flatnonzero(stands_for == number).tolist()),
                recall=_part(own, images),
                precision=_part(own, inside),
                purity=_part(float((counts[number] * share[number]).sum()), images),
                confused_with=class_names[most] if others[most] else "",
                confused=_part(int(others[most]), images),
            )
        )
    return rows


def cells_of(row: ClassRow) -> list[str]:
    """A row in words, in the order of `TITLES`."""
    number = len(row.clusters)
    return [
        row.name,
        f"{row.images:,}",
        ", ".join(map(str, row.clusters)) if number < 4 else f"{number} of them",
        *(_told(value) for value in (row.recall, row.precision, row.purity)),
        f"{row.confused_with} ({row.confused:.0%})" if row.confused_with else "-",
    ]


def markdown_lines(rows: Sequence[ClassRow]) -> list[str]:
    """The table as lines of Markdown."""
    lines = ["| " + " | ".join(TITLES) + " |", "| --- |" + " ---: |" * 5 + " --- |"]
    for row in rows:
        cells = (cell.replace("|", r"\|") for cell in cells_of(row))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _part(some: float, of: float) -> float:
    return some / of if of else float("nan")


def _told(part: float) -> str:
    return "-" if np.isnan(part) else f"{part:.1%}"
