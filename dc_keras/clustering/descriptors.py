"""Descriptors of all images, made of their features in bounded memory.

Cost: one forward pass over all images. Memory: the features of the images that PCA is fitted on
(16 kB each at 4096 dimensions) and one descriptor an image (1 kB at 256 dimensions); the features
of all images, 19.5 GiB for ImageNet, are never held.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from tqdm import tqdm

from dc_keras.clustering.spread import ALONE, SpreadRows, Workers, share_of
from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.errors import DegenerateDataError, InputError
from dc_keras.memory import free_memory
from dc_keras.process import return_freed_memory


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """Descriptors of all images.

    Attributes:
        values: float32 `(n, at most pca_dim)`, unit length, row i for image i; of several workers
            each holds those of its share.
        whitening: The projection that was fitted and applied.
        pca_seconds: Time that fitting took.
    """

    values: np.ndarray | SpreadRows
    whitening: Whitening
    pca_seconds: float


def compute_descriptors(
    extract: Callable[[np.ndarray], Iterable[np.ndarray]],
    num_images: int,
    *,
    pca_dim: int,
    pca_images: int,
    whiten: bool = True,
    rng: np.random.Generator,
    workers: Workers = ALONE,
    progress: bool = False,
) -> Descriptors:
    """Computes the descriptors of all images: features, PCA-whitened and L2-normalised.

    PCA is fitted on the features of a random sample, which is extracted first; the other images
    are then extracted and projected batch by batch. Each image passes the network once.

    Args:
        extract: From image indices `(m,)` to batches of their features, float32 `(b, d)`, in that
            order.
        num_images: Number of images `n`.
        pca_dim: Dimensions wanted; fewer come back when the features span fewer.
        pca_images: Size of the sample; all images when there are no more.
        whiten: Whether PCA also whitens.
        rng: Draws the sample.
        workers: Who share the work. Each extracts a part of the images; the features of the sample
            come together, where the first worker fits PCA on them.
        progress: Whether to show a progress bar.

    Returns:
        The descriptors of all images, with the whitening fitted for them.

    Raises:
        InputError: If there is less memory than they take.
        DegenerateDataError: If features are not finite or all alike.
    """
    sample = np.arange(num_images)
    if num_images > pca_images:
        sample = np.sort(rng.choice(num_images, pca_images, replace=False))
    first, end = share_of(num_images, workers)
    share = np.arange(first, end)
    start_of_own, end_of_own = np.searchsorted(sample, [first, end])
    own_sample = sample[start_of_own:end_of_own]
    rest = np.setdiff1d(share, own_sample, assume_unique=True)

    with tqdm(
        total=len(share), desc="features", unit=" images", disable=not progress, leave=False
    ) as bar:
        features = np.empty((0, 0), np.float32)
        for place, batch in _placed(extract, own_sample, bar):
            if place.start == 0:
                _check_fits_memory((len(sample), batch.shape[1]), (len(share), pca_dim))
                features = np.empty((len(own_sample), batch.shape[1]), np.float32)
            features[place] = batch
        started = time.monotonic()
        if workers is ALONE:
            whitening = fit_whitening(features, pca_dim, whiten=whiten, copy=False)
            of_sample = whitening.apply_centered(features)
        else:
            rows = _spread(features, int(start_of_own), len(sample), workers)
            whitening = _fitted_by_first(rows, pca_dim, whiten)
            of_sample = whitening.apply(rows.own)
        pca_seconds = time.monotonic() - started
        # The sample's rows lie in all pages of the array, which is made when the features are gone.
        del features
        return_freed_memory()
        descriptors = np.empty((len(share), whitening.output_dim), np.float32)
        descriptors[own_sample - first] = of_sample
        for place, batch in _placed(extract, rest, bar):
            descriptors[rest[place] - first] = whitening.apply(batch)
    if workers is ALONE:
        return Descriptors(descriptors, whitening, pca_seconds)
    return Descriptors(SpreadRows(descriptors, first, num_images, workers), whitening, pca_seconds)


def _placed(
    extract: Callable[[np.ndarray], Iterable[np.ndarray]], indices: np.ndarray, bar: tqdm
) -> Iterator[tuple[slice, np.ndarray]]:
    """Batches of features that are finite, and where they stand among the images asked for."""
    start = 0
    for batch in extract(indices) if len(indices) else ():
        yield slice(start, start + len(batch)), _check_finite(batch)
        start += len(batch)
        bar.update(len(batch))


def _spread(features: np.ndarray, first: int, total: int, workers: Workers) -> SpreadRows:
    """Features of own images as those of all; a worker may have none, and not know their width."""
    width, with_some = workers.total(np.array([features.shape[1], len(features) > 0], np.int64))
    return SpreadRows(features.reshape(-1, width // with_some), first, total, workers)


def _fitted_by_first(features: SpreadRows, dim: int, whiten: bool) -> Whitening:
    """The whitening that the first worker fits to the features of all."""
    gathered = features.gathered()

    def fit() -> list[np.ndarray]:
        found = fit_whitening(gathered, dim, whiten=whiten, copy=False)
        explained = np.array(found.explained_variance)
        return [found.mean, found.projection, found.eigenvalues, explained]

    mean, projection, eigenvalues, explained = features.workers.from_first(fit)
    return Whitening(mean, projection, eigenvalues, float(explained))


def _check_fits_memory(features: tuple[int, int], descriptors: tuple[int, int]) -> None:
    """Compares what will be held at a time, in 32 bits, with the memory that can be had.

    A smaller sample would do, but how much memory is free must not decide about results.

    Args:
        features: Rows and columns of those that PCA is fitted on.
        descriptors: Those of all images.

    Raises:
        InputError: If there is less.
    """
    of_sample = features[0] * descriptors[1]
    needed = 4 * (of_sample + max(features[0] * features[1], descriptors[0] * descriptors[1]))
    free = free_memory()
    if needed > free.bytes:
        raise InputError(
            "The features do not fit into memory. Received: "
            f"{features[0]:,} images to fit PCA on, of {features[1]:,} features, and "
            f"{descriptors[0]:,} descriptors of {descriptors[1]:,} values: "
            f"{needed / 1e9:.2g} GB, of {free.bytes / 1e9:.2g} GB {free.told}. Expected less; "
            "lower --pca_images, --pca_dim or --width, or --cache=off, which leaves more."
        )


def _check_finite(features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise DegenerateDataError(
            f"The network's features are not finite. Received: NaN or infinity for {bad} of "
            f"{len(features)} images of a batch. The training has diverged: lower "
            "--learning_rate, and start from a checkpoint that was still good or anew."
        )
    return features
