"""Memory of the clustering stage at the size of ImageNet.

    python -m benchmarks.clustering_memory

Features of 1,281,167 images, 4,096 each, come from a generator in place of the network; PCA,
whitening and k-means with 10,000 clusters are the program's own. One iteration of k-means is made,
since memory does not depend on their number; the time of 20 is extrapolated. The public code holds
all features in an array and copies it. The peak is that of this process, TensorFlow and all.
"""

import resource
import sys
import time

import numpy as np

from benchmarks.interleaved import arguments
from benchmarks.rows import Subject, plain, report_limit
from dc_keras.process import prepare_process

FEATURES, DIMENSIONS, SAMPLE, BATCH = 4096, 256, 32_768, 1024
PUBLISHED_ITERATIONS = 20
GOAL_GB = 2.5


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1)
    prepare_process()
    from dc_keras.clustering.descriptors import compute_descriptors
    from dc_keras.clustering.kmeans import KMeansOptions
    from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels

    n, k = (20_000, 100) if options.quick else (1_281_167, 10_000)
    started = time.perf_counter()
    described = compute_descriptors(
        features_of,
        n,
        pca_dim=DIMENSIONS,
        pca_images=SAMPLE,
        rng=np.random.default_rng(0),
        progress=sys.stderr.isatty(),
    )
    clustering_started = time.perf_counter()
    once = ClusteringOptions(k, kmeans=KMeansOptions(iterations=1))
    assign_pseudo_labels(described.values, once, seed=0, turn=0)
    clustered = time.perf_counter() - clustering_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    # One iteration and the last assignment compare all pairs once each.
    whole = clustered / 2 * (PUBLISHED_ITERATIONS + 1)
    theirs = 2 * n * FEATURES * 4 / 1e9
    report_limit(
        options,
        Subject(
            "memory of the clustering stage",
            f"n = {n:,} x {FEATURES:,}, k = {k:,}",
            ["tensorflow", "faiss-cpu", "numpy"],
        ),
        "",
        [peak],
        "GB",
        goal=GOAL_GB,
        note=f"arrays of the public code (worked out): {plain(theirs)} GB, {plain(theirs / peak)} "
        f"times as much; generating and projecting {clustering_started - started:.0f} s; k-means "
        f"with one iteration {clustered:.0f} s, so {whole / 60:.0f} minutes with "
        f"{PUBLISHED_ITERATIONS}",
    )


def features_of(indices: np.ndarray):
    """Yields batches of features that are different for all images, float32 `(b, FEATURES)`.

    Each is the sum of two rows of a table, by the digits of its index: making them takes little
    more than writing them down.
    """
    rng = np.random.default_rng(1)
    side = 1 << 11
    scales = (1 + np.arange(FEATURES, dtype=np.float32)) ** -0.5
    first, second = rng.standard_normal((2, side, FEATURES), np.float32) * scales
    for start in range(0, len(indices), BATCH):
        high, low = np.divmod(indices[start : start + BATCH], side)
        yield first[high] + second[low]


if __name__ == "__main__":
    main()
