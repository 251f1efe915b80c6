"""Clusterings and turns of the loop, as tests make them up."""

import numpy as np

from dc_keras.clustering.pseudo_labels import Clustering
from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.training.image_clustering import ClusteredImages, clustering_figures
from dc_keras.training.turn import Turn


def whitening(dim: int = 4, output_dim: int = 2) -> Whitening:
    """Fitted on random features."""
    rng = np.random.default_rng(0)
    return fit_whitening(rng.normal(size=(12, dim)).astype("float32"), output_dim)


def clustering_of(assignments, num_clusters: int = 3, **changes) -> Clustering:
    """A clustering with these pseudo-labels; further attributes may be given."""
    assignments = np.asarray(assignments, "int32")
    sizes = np.bincount(assignments, minlength=num_clusters)
    attributes = {
        "assignments": assignments,
        "centroids": np.zeros((num_clusters, 2), "float32"),
        "objectives": np.array([3.0, 2.0]),
        "empty_before": 0,
        "empty_after": int((sizes == 0).sum()),
    }
    return Clustering(**attributes | changes)


def clustered_images(assignments, num_clusters: int = 3, *, numbers=None, **changes):
    """What an `ImageClusterer` finds; further attributes of its clustering may be given."""
    clusters = clustering_of(assignments, num_clusters, **changes)
    fitted = whitening()
    return ClusteredImages(
        clusters=clusters,
        numbers=np.asarray(range(num_clusters) if numbers is None else numbers, "int32"),
        whitening=fitted,
        outlier_distance=0.5,
        figures=clustering_figures(clusters, fitted),
        seconds={"features": 1.0},
    )


def turn_of(assignments, num_clusters: int = 3, *, epoch: int = 0, **changes) -> Turn:
    """A turn that begins with such a clustering; further attributes may be given."""
    made = clustered_images(assignments, num_clusters)
    attributes = {
        "epoch": epoch,
        "clusters": made.clusters,
        "numbers": made.numbers,
        "whitening": made.whitening,
        "figures": made.figures,
        "seconds": made.seconds,
        "clustered": True,
    }
    return Turn(**attributes | changes)
