"""Descriptors of all images, made of their features in bounded memory.

Cost: one forward pass over all images. Memory: the features of the images that PCA is fitted on
(16 kB each at 4096 dimensions) and one descriptor an image (1 kB at 256 dimensions); the features
of all images, 19.5 GiB for ImageNet, are never held.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable

import numpy as np
from tqdm import tqdm

from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.errors import DegenerateDataError, InputError
from dc_keras.memory import free_memory
from dc_keras.process import return_freed_memory


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """Descriptors of all images.

    Attributes:
        values: float32 `(n, at most pca_dim)`, unit length, row i for image i.
        whitening: The projection that was fitted and applied.
        pca_seconds: Time that fitting took.
    """

    values: np.ndarray
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
    rest = np.setdiff1d(np.arange(num_images), sample, assume_unique=True)

    with tqdm(
        total=num_images, desc="features", unit=" images", disable=not progress, leave=False
    ) as bar:
        features = np.empty((0, 0), np.float32)
        start = 0
        for batch in extract(sample):
            if start == 0:
                _check_fits_memory((len(sample), batch.shape[1]), (num_images, pca_dim))
                features = np.empty((len(sample), batch.shape[1]), np.float32)
            features[start : start + len(batch)] = _check_finite(batch)
            start += len(batch)
            bar.update(len(batch))
        started = time.monotonic()
        whitening = fit_whitening(features, pca_dim, whiten=whiten, copy=False)
        pca_seconds = time.monotonic() - started
        # The sample's rows lie in all pages of the array, which is made when the features are gone.
        of_sample = whitening.apply_centered(features)
        del features
        return_freed_memory()
        descriptors = np.empty((num_images, whitening.output_dim), np.float32)
        descriptors[sample] = of_sample
        start = 0
        for batch in extract(rest) if len(rest) else ():
            descriptors[rest[start : start + len(batch)]] = whitening.apply(_check_finite(batch))
            start += len(batch)
            bar.update(len(batch))
    return Descriptors(descriptors, whitening, pca_seconds)


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
