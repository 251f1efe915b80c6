"""How the time of each stage grows with the number of images and of clusters.

    python -m benchmarks.growth

1,000 to 100,000 images and 10 to 10,000 clusters. The exponent is the slope of log time over log n,
fitted to n = 10,000 and more, where fixed costs no longer flatten it. Draws docs/images/growth.png
with --write.
"""

import pathlib
import time
from collections.abc import Callable

import numpy as np

from benchmarks.interleaved import arguments
from benchmarks.rows import Subject, report_growth, report_limit
from dc_keras.process import prepare_process
from tools.write_tables import REPOSITORY

SIDE, FEATURES, DIMENSIONS, ITERATIONS, BATCH = 32, 1024, 64, 5, 256
FITTED_FROM = 10_000
GOAL = 1.05
PACKAGES = ("tensorflow", "faiss-cpu", "numpy")
_LONG_SECONDS = 5.0


def main() -> None:
    """Measures, draws and prints."""
    options = arguments(__doc__, turns=2)
    prepare_process()
    sizes = [1000, 2000] if options.quick else [1000, 3000, 10_000, 30_000, 100_000]
    clusters = [10, 100] if options.quick else [10, 100, 1000, 10_000]
    rng = np.random.default_rng(0)
    times: dict[str, dict[int, float]] = {}
    for n in sizes:
        features = rng.standard_normal((n, FEATURES), np.float32)
        images = rng.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)
        for name, work in stages(features, images, [k for k in clusters if 10 * k <= n]).items():
            times.setdefault(name, {})[n] = shortest(work, options.turns)
    for name, found in times.items():
        stage, _, setting = name.partition(", ")
        report_growth(options, Subject(stage, setting, PACKAGES), found)
        fitted = {n: s for n, s in found.items() if n >= min(FITTED_FROM, sizes[-2])}
        if len(fitted) < 2:
            continue
        exponent = np.polyfit(np.log(list(fitted)), np.log(list(fitted.values())), 1)[0]
        whole = Subject(f"growth in n: {stage}", setting, PACKAGES)
        report_limit(options, whole, "", [exponent], "exponent", goal=GOAL)
    if options.write:
        draw(times, REPOSITORY / "docs" / "images" / "growth.png")


def stages(
    features: np.ndarray, images: np.ndarray, clusters: list[int]
) -> dict[str, Callable[[], None]]:
    """The stages of the loop, as functions that do one after the other on the same images."""
    from dc_keras.clustering.kmeans import KMeansOptions
    from dc_keras.clustering.matching import match_clusters
    from dc_keras.clustering.pseudo_labels import ClusteringOptions, assign_pseudo_labels
    from dc_keras.clustering.whitening import fit_whitening
    from dc_keras.data.batches.ordered import ordered_batches
    from dc_keras.data.batches.uniform import UniformClusterSampler
    from dc_keras.data.sources.arrays import ArraySource
    from dc_keras.models import feature_extractor
    from dc_keras.models.options import NetworkOptions
    from dc_keras.models.vgg import build_vgg16

    n = len(features)
    network = build_vgg16(NetworkOptions(SIDE, width=1 / 16), 10)
    extractor = feature_extractor.FeatureExtractor(
        feature_extractor.feature_model(network, feature_extractor.FEATURES)
    )
    source = ArraySource(images, [str(i) for i in range(n)])
    batches = ordered_batches(source, np.arange(n), image_size=SIDE, batch_size=BATCH)
    made = {}

    def extract():
        for _ in extractor(batches):
            pass

    def project():
        made["descriptors"] = fit_whitening(features, DIMENSIONS).apply(features)

    def cluster(k):
        options = ClusteringOptions(k, kmeans=KMeansOptions(iterations=ITERATIONS))
        made[k] = assign_pseudo_labels(made["descriptors"], options, seed=0, turn=0)

    def match(k):
        match_clusters(made[k].assignments, np.roll(made[k].assignments, 1), k)

    def sample(k):
        sampler = UniformClusterSampler(n)
        sampler.set_labels(made[k].assignments)
        sampler.begin_epoch(0, 0)
        for _ in sampler.pairs(n).batch(BATCH):
            pass

    next(extractor(batches))  # makes the graph
    found = {"reading and extraction": extract, "PCA and whitening": project}
    for k in clusters:
        found[f"k-means and repair, k = {k:,}"] = lambda k=k: cluster(k)
        found[f"matching, k = {k:,}"] = lambda k=k: match(k)
        found[f"sampling, k = {k:,}"] = lambda k=k: sample(k)
    return found


def shortest(work: Callable[[], None], turns: int) -> float:
    """Seconds that some work takes, the least of so many turns; one will do for long work."""
    found = []
    while len(found) < turns and sum(found) < _LONG_SECONDS:
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def draw(times: dict[str, dict[int, float]], path: pathlib.Path) -> None:
    """Plots seconds over n on logarithmic axes, a panel for each stage, a line for each k."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels: dict[str, dict[str, dict[int, float]]] = {}
    for name, found in times.items():
        stage, _, clusters = name.partition(", ")
        panels.setdefault(stage, {})[clusters] = found
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(3 * len(panels), 3.4), sharey=True, layout="constrained"
    )
    for axes, (stage, lines) in zip(all_axes, panels.items(), strict=True):
        for clusters, found in lines.items():
            axes.loglog(list(found), list(found.values()), "o-", label=clusters)
        n = np.array([1000, 100_000])
        start = min(found[min(found)] / min(found) for found in lines.values())
        axes.loglog(n, start * n, "k--", linewidth=0.8, label="proportional to n")
        axes.set(title=stage, xlabel="images")
        axes.legend(fontsize="x-small")
    all_axes[0].set_ylabel("seconds")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
