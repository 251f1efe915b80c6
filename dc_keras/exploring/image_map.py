"""A map of the images: a place in the plane for each, clusters beside those they are like."""

import numpy as np

# Of the distance to the nearest cluster on the map, what the middle image of a cluster is away from
# its centre: clusters touch, but can be told apart.
_SPREAD = 0.35


def image_positions(
    descriptors: np.ndarray, centroids: np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    """Places clusters by PCA of their centroids, and images around their cluster's place.

    A plain projection of all images puts clusters on top of each other: the plane shows a few per
    cent of what tells images apart. Here it is the centroids that are projected, weighted by the
    sizes of their clusters, and the offsets of the images within a cluster are drawn smaller.
    Distances between clusters and directions within are true to the projection; what is near on the
    map need not be near. The same input gives the same map.

    Args:
        descriptors: float32 `(n, dim)`.
        centroids: float32 `(k, dim)`.
        clusters: int32 `(n,)`.

    Returns:
        float32 `(n, 2)` from -1 to 1, the centre of all images at 0.
    """
    sizes = np.bincount(clusters, minlength=len(centroids)).astype(np.float64)
    center = (sizes @ centroids / sizes.sum()).astype(np.float32)
    axes = _axes((centroids - center) * np.sqrt(sizes)[:, np.newaxis], descriptors - center)
    places = (centroids - center) @ axes
    positions = (descriptors - center) @ axes
    offsets = positions - places[clusters]
    positions = places[clusters] + offsets * _shrinking(places[sizes > 0], offsets)
    positions -= positions.mean(axis=0)
    return (positions / max(np.abs(positions).max(), 1e-12)).astype(np.float32)


def _axes(centroids: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Two directions, float64 `(dim, 2)`: those of the centroids, and of images where one lacks."""
    values, vectors = np.linalg.eigh(centroids.T @ centroids)
    found = vectors[:, ::-1][:, :2] * (values[::-1][:2] > 1e-9 * max(values[-1], 1e-9))
    missing = int((~found.any(axis=0)).sum()) if found.shape[1] == 2 else 2 - found.shape[1]
    axes = found[:, found.any(axis=0)]
    if missing:
        rest = images - images @ axes @ axes.T
        _, vectors = np.linalg.eigh(rest.T @ rest)
        more = vectors[:, ::-1][:, :missing]
        axes = np.concatenate([axes, more], axis=1)
    if axes.shape[1] < 2:
        axes = np.concatenate([axes, np.zeros((len(axes), 2 - axes.shape[1]))], axis=1)
    # Eigenvectors have no sign of their own.
    largest = np.abs(axes).argmax(axis=0)
    return axes * np.where(axes[largest, [0, 1]] < 0, -1.0, 1.0)


def _shrinking(places: np.ndarray, offsets: np.ndarray) -> float:
    """The factor for offsets, at most 1."""
    if len(places) < 2:
        return 1.0
    # Some thousand clusters at most decide on the factor.
    chosen = places[:: -(-len(places) // 2000)]
    squared = np.square(chosen[:, np.newaxis] - chosen).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    between = float(np.median(np.sqrt(squared.min(axis=1))))
    within = float(np.median(np.linalg.norm(offsets, axis=1)))
    return min(1.0, _SPREAD * between / within) if within > 0 else 1.0
