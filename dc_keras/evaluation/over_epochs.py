"""How clusters came to agree with the classes: from the clusterings that a run has saved."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from absl import logging
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dc_keras.clustering.cluster_quality import (
    adjusted_rand_index,
    normalized_mutual_information,
    purity,
)
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.evaluation.plots import COLOURS, MARKS, without_frame
from dc_keras.runs.run_directory import RunDirectory


class Agreement(NamedTuple):
    """Agreement of one clustering with the classes.

    Attributes:
        epoch: At whose beginning it was made, from 1.
        clusters: How many have images.
        nmi: Normalised mutual information, geometric.
        ari: Adjusted Rand index.
        purity: Part of the images that are of the most frequent class of their cluster.
    """

    epoch: int
    clusters: int
    nmi: float
    ari: float
    purity: float


def agreement_over_epochs(
    clusterings: Iterable[tuple[int, np.ndarray]], labels: np.ndarray
) -> list[Agreement]:
    """Compares clusterings with the classes.

    Args:
        clusterings: Epochs, and the cluster of each image, integers `(n,)`.
        labels: Class of each image, integers `(n,)`.

    >>> agreement_over_epochs([(1, np.array([0, 0, 1, 1]))], np.array([1, 1, 0, 0]))
    [Agreement(epoch=1, clusters=2, nmi=1.0, ari=1.0, purity=1.0)]
    """
    return [
        Agreement(
            epoch,
            len(np.unique(assignments)),
            normalized_mutual_information(labels, assignments),
            adjusted_rand_index(labels, assignments),
            purity(labels, assignments),
        )
        for epoch, assignments in clusterings
    ]


def saved_clusterings(run: RunDirectory, images: int) -> Iterator[tuple[int, np.ndarray]]:
    """Reads the clusterings of a run one by one, in order; a damaged one is left out and told of.

    Args:
        run: The run. One of given features has none.
        images: Number of its images.
    """
    paths = {
        int(path.stem.removeprefix("epoch-")): path
        for path in run.assignments.glob("epoch-*.npy")
        if re.fullmatch(r"epoch-\d{4,}", path.stem)
    }
    for epoch in sorted(paths):
        try:
            assignments = np.load(paths[epoch], allow_pickle=False)
            if assignments.shape != (images,) or assignments.dtype.kind not in "iu":
                raise ValueError(f"{assignments.dtype} {assignments.shape} for {images} images")
        except (OSError, ValueError, EOFError) as error:
            logging.warning("The clustering %s cannot be read (%s).", paths[epoch], error)
            continue
        yield epoch, assignments


def agreement_of_run(run: RunDirectory) -> list[Agreement]:
    """Agreement of the clusters of a run with the classes that it has noted, epoch by epoch.

    Returns:
        Nothing where it has noted no classes, or fewer than two.

    Raises:
        InputError: If the listing of its images is damaged.
    """
    if not run.manifest.exists():
        # Of imported weights alone.
        return []
    named = read_manifest(run.manifest).labels
    classes, labels = np.unique(np.array(named), return_inverse=True)
    if len(classes) < 2:
        return []
    return agreement_over_epochs(saved_clusterings(run, len(labels)), labels)


def agreement_figure(points: list[Agreement]) -> Figure:
    """Agreement over the epochs, a line for each figure."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    panel = figure.subplots()
    epochs = [point.epoch for point in points]
    for place, (key, title) in enumerate({"nmi": "NMI", "ari": "ARI", "purity": "purity"}.items()):
        panel.plot(
            epochs,
            [getattr(point, key) for point in points],
            color=COLOURS[place],
            marker=MARKS[place],
            markersize=4 if len(points) < 40 else 0,
            label=title,
        )
    panel.set_xlabel("epoch")
    panel.set_ylim(bottom=min(0.0, *(point.ari for point in points)) if points else 0.0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    without_frame(panel)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure
