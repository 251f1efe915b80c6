"""K-means: ours against plain Faiss with equal settings.

    python -m benchmarks.kmeans

Both may run 20 iterations, and assign; both stop when nothing changes any more.
"""

import faiss
import numpy as np

from benchmarks.interleaved import arguments, rates
from benchmarks.rows import Subject, report_speed
from dc_keras.clustering.kmeans import KMeansOptions, kmeans

SETTINGS = KMeansOptions(iterations=20)


def unit(points: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__)
    n, dim, k = (4000, 64, 100) if options.quick else (30_000, 256, 1000)
    for kind, distance in (("distinct", 1.0), ("overlapping", 0.25)):
        rng = np.random.default_rng(0)
        groups = distance * rng.standard_normal((k // 2, dim))
        points = unit(groups[rng.integers(0, len(groups), n)] + rng.standard_normal((n, dim)))
        results = {}

        def ours(points=points, results=results):
            results["ours"] = kmeans(points, k, SETTINGS, seed=1)
            return n

        def plain(points=points, results=results):
            clusters = faiss.Kmeans(dim, k, niter=20, max_points_per_centroid=n, seed=1)
            clusters.train(points)
            squared = clusters.assign(points)[0]
            results["Faiss"] = len(clusters.iteration_stats), squared.mean(dtype=np.float64)
            return n

        found = rates({"ours": ours, "Faiss": plain}, options.turns)
        objectives, (iterations, objective) = results["ours"].objectives, results["Faiss"]
        setting = f"{kind} groups, n = {n:,}, {dim} dimensions, k = {k:,}"
        report_speed(
            options,
            Subject("k-means", setting, ["faiss-cpu", "numpy"]),
            found,
            "points/s",
            goals={"Faiss": 1},
            note=f"iterations {len(objectives) - 1} : {iterations}; objectives "
            f"{objectives[-1]:.6f} : {objective:.6f}",
        )


if __name__ == "__main__":
    main()
