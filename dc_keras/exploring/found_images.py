"""What is known of every image of a run once it is clustered: what tables and pages show."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class FoundImages:
    """One row an image, in the order of the run's manifest; k clusters.

    Distances are Euclidean between descriptors, which have unit length: 0 to 2.

    Attributes:
        paths: n paths below `root`, or names such as "digits/000017" where images are no files.
        root: The folder of the images, absolute; empty where images are no files.
        clusters: int32 (n,) cluster of each image.
        distances: float32 (n,) from an image to its cluster's centroid.
        margins: float32 (n,) how much farther the second nearest centroid is. Small ones are
            borderline; 0 where there is one cluster.
        outlier_scores: float32 (n,) mean distance to the nearest images over the median of that.
        outliers: bool (n,) images that lie apart from all others.
        nearest: int32 (n, m) the nearest images of each, nearest first; -1 where there are fewer.
        nearest_distances: float32 (n, m) how far these are; NaN where there are fewer.
        duplicate_groups: int32 (n,) number of the group of duplicates that an image is in, or -1.
        duplicate_kinds: int8 (n,) an index into `DUPLICATE_KINDS`.
        positions: float32 (n, 2) place on the map.
        cluster_neighbours: int32 (k, j) the nearest other clusters of each, nearest first.
        cluster_names: k names that the user gave; empty where none.
        labels: int32 (n,) class of each image, or None.
        class_names: Names of the classes, or None.
    """

    paths: tuple[str, ...]
    root: str
    clusters: np.ndarray
    distances: np.ndarray
    margins: np.ndarray
    outlier_scores: np.ndarray
    outliers: np.ndarray
    nearest: np.ndarray
    nearest_distances: np.ndarray
    duplicate_groups: np.ndarray
    duplicate_kinds: np.ndarray
    positions: np.ndarray
    cluster_neighbours: np.ndarray
    cluster_names: tuple[str, ...]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None


# Exact: the same bytes, or the same decoded pixels. Near: small distance and alike to the eye.
DUPLICATE_KINDS = ("", "same bytes", "same pixels", "near")
