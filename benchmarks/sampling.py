"""Pairs of (image, pseudo-label), uniform over clusters: ours, tf.data's and NumPy's.

    python -m benchmarks.sampling

Sizes of ImageNet and the paper: 1,281,167 images in 10,000 clusters of log-normal sizes, some of
one image. NumPy draws a cluster and then a member, without tf.data around it.
"""

import numpy as np

from benchmarks.interleaved import arguments, rates
from benchmarks.rows import Subject, report_speed
from dc_keras.process import load_libraries_quietly, without_native_messages


def log_normal_labels(num_images: int, num_clusters: int) -> np.ndarray:
    """Labels of clusters with log-normal sizes, none empty, int32 `(num_images,)`."""
    rng = np.random.default_rng(0)
    weights = rng.lognormal(sigma=1.0, size=num_clusters)
    # A tenth of the clusters keeps the one image that all get.
    weights[: num_clusters // 10] = 0
    extra = rng.multinomial(num_images - num_clusters, weights / weights.sum())
    return rng.permutation(np.repeat(np.arange(num_clusters, dtype=np.int32), 1 + extra))


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__)
    load_libraries_quietly()
    import tensorflow as tf

    from dc_keras.data.batches.uniform import UniformClusterSampler

    n, k = (50_000, 500) if options.quick else (1_281_167, 10_000)
    pairs, few = (50_000, 50) if options.quick else (1_000_000, 64)
    labels = log_normal_labels(n, k)
    sizes = np.bincount(labels)
    sampler = UniformClusterSampler(n)
    sampler.set_labels(labels)
    sampler.begin_epoch(0, 0)

    def ours():
        counted = sampler.pairs(pairs).batch(8192).prefetch(2)
        return sum(len(indices) for indices, _ in counted.as_numpy_iterator())

    order = np.random.default_rng(1).permutation(n)
    resampled = iter(
        tf.data.Dataset.from_tensor_slices((order, labels[order]))
        .repeat()
        .rejection_resample(
            lambda index, label: label,
            target_dist=np.full(k, 1 / k, np.float32),
            initial_dist=(sizes / n).astype(np.float32),
            seed=0,
        )
    )
    # Whatever it fills before the first pair is not counted. It prints all of its probabilities.
    with without_native_messages():
        next(resampled)

    def built_in():
        with without_native_messages():
            for _ in range(few):
                next(resampled)
        return few

    members = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(2)

    def exact():
        chosen = rng.integers(0, k, pairs)
        images = members[starts[chosen] + rng.integers(0, sizes[chosen])]
        return len(images)

    ours()
    contenders = {"ours": ours, "tf.data rejection_resample": built_in, "NumPy": exact}
    report_speed(
        options,
        Subject("sampling", f"n = {n:,}, k = {k:,}", ["tensorflow", "numpy"]),
        rates(contenders, options.turns),
        "pairs/s",
        goals={"tf.data rejection_resample": 1000},
        note=f"goal also 200,000 pairs/s; {np.count_nonzero(sizes == 1):,} clusters of one image",
    )


if __name__ == "__main__":
    main()
