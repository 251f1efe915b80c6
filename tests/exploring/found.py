"""Images and what is known of them, made up: for tests of tables and pages."""

import numpy as np

from dc_keras.exploring.found_images import FoundImages
from dc_keras.exploring.gallery import GalleryRun, gallery_id


def found_images(paths, num_clusters, *, seed=0, **more):
    """Points around centroids, each with the figures that follow from that.

    Args:
        paths: Names of the images.
        num_clusters: k; clusters are drawn at random, some may stay empty.
        seed: Of the draws.
        **more: Fields to have other values.
    """
    rng = np.random.default_rng(seed)
    n, k = len(paths), num_clusters
    centroids = rng.normal(size=(k, 2))
    clusters = rng.integers(k, size=n).astype(np.int32)
    positions = centroids[clusters] + rng.normal(scale=0.2, size=(n, 2))
    to_all = np.linalg.norm(positions[:, None] - centroids, axis=2)
    clusters = to_all.argmin(axis=1).astype(np.int32)
    ranked = np.sort(to_all, axis=1)
    between = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(between, np.inf)
    nearest = np.argsort(between, axis=1)[:, :10]
    distances = np.take_along_axis(between, nearest, axis=1)
    nearest = np.where(np.isinf(distances), -1, nearest)
    distances = np.where(np.isinf(distances), np.nan, distances)
    missing = ((0, 0), (0, 10 - nearest.shape[1]))
    nearest = np.pad(nearest, missing, constant_values=-1)
    distances = np.pad(distances, missing, constant_values=np.nan)
    means = np.nanmean(distances, axis=1) if n > 1 else np.zeros(n)
    apart = np.linalg.norm(centroids[:, None] - centroids, axis=2)
    fields = {
        "paths": tuple(paths),
        "root": "",
        "clusters": clusters,
        "distances": ranked[:, 0].astype(np.float32),
        "margins": (ranked[:, 1] - ranked[:, 0] if k > 1 else np.zeros(n)).astype(np.float32),
        "outlier_scores": (means / max(np.median(means), 1e-9)).astype(np.float32),
        "outliers": means > 2 * np.median(means),
        "nearest": nearest.astype(np.int32),
        "nearest_distances": distances.astype(np.float32),
        "duplicate_groups": np.full(n, -1, np.int32),
        "duplicate_kinds": np.zeros(n, np.int8),
        "positions": positions.astype(np.float32),
        "cluster_neighbours": np.argsort(apart, axis=1)[:, 1:6].astype(np.int32),
        "cluster_names": (),
    }
    return FoundImages(**fields | more)


def thumbnails(n):
    """Images of one colour each, uint8 (n, 64, 64, 3), all different up to n = 4,096."""
    shades = np.arange(n)
    colours = np.stack([shades % 16 * 16, shades // 16 % 16 * 16, shades // 256 * 16], axis=1)
    return np.broadcast_to(colours.astype(np.uint8)[:, None, None], (n, 64, 64, 3))


def whole_run(found, *, title="Some images", link=""):
    """The run of a gallery that shows all of its images."""
    n = len(found.paths)
    identity = gallery_id(found.paths, found.clusters, len(found.cluster_neighbours))
    return GalleryRun(title, link, identity, np.arange(n), n)
