"""K-means: ours against plain Faiss with equal settings, and what a warm start saves.

    python -m benchmarks.kmeans

Both may run 20 iterations, and assign; both stop when nothing changes any more. For the warm start
the points move a little, as descriptors do from one epoch to the next; counted are the iterations
until the objective is within a thousandth of what the iterations from random points reach. Exactly
the same it need not become, since both end in an optimum of their own.
"""

import faiss
import numpy as np

from benchmarks.interleaved import arguments, rates, report
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
        raw = groups[rng.integers(0, len(groups), n)] + rng.standard_normal((n, dim))
        points = unit(raw)
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
        before, (iterations, objective) = results["ours"], results["Faiss"]

        moved = unit(raw + 0.3 * rng.standard_normal((n, dim)))
        cold = kmeans(moved, k, SETTINGS, seed=2).objectives
        warm = kmeans(moved, k, SETTINGS, previous=before.assignments, seed=2).objectives
        reached = np.flatnonzero(warm <= 1.001 * cold[-1])
        needed = reached[0] if len(reached) else f"more than {len(warm) - 1}"
        report(
            options,
            f"k-means, {kind} groups, n = {n:,}, {dim} dimensions, k = {k:,}",
            found,
            "points/s",
            goals={"Faiss": 1},
            packages=["faiss-cpu", "numpy"],
            note=f"iterations {len(before.objectives) - 1} : {iterations}; objectives "
            f"{before.objectives[-1]:.6f} : {objective:.6f}; a warm start reaches in {needed} "
            f"iterations what a cold one does in {len(cold) - 1} (goal: half), and ends with an "
            f"objective {warm[-1] / cold[-1] - 1:+.2%} away",
        )


if __name__ == "__main__":
    main()
