"""Features of all images, in order, and the descriptors made of them in bounded memory.

Cost: one forward pass over all images. Memory: the features of the images that PCA is fitted on
(16 kB each at 4096 dimensions) and one descriptor an image (1 kB at 256 dimensions); the features
of all images, 19.5 GiB for ImageNet, are never held.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.clustering.whitening import Whitening, fit_whitening
from dc_keras.errors import DegenerateDataError
from dc_keras.runtime import return_freed_memory


class FeatureExtractor:
    """Computes a model's outputs over a dataset on all replicas, in the order of the dataset.

    Args:
        model: From images to features; called with `training=False`: batch norm uses its running
            statistics and dropout is inactive.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._strategy = model.distribute_strategy
        self._step = None
        self._size = 0

    def _trace(self, element_spec, size: int) -> Callable:
        """Compiles the forward pass for batches of up to `size` images on each replica.

        Smaller ones are filled with blank images, for three reasons: TensorFlow's fused
        convolutions do not take a replica without images, which the last batch can leave; layers
        that know how many images they get choose their way by that; and an image's features are
        computed in the same way in whatever batch it is.
        """

        def on_replica(images):
            count = tf.shape(images)[0]
            images = tf.pad(images, [[0, size - count], [0, 0], [0, 0], [0, 0]])
            images = tf.ensure_shape(images, (size, *images.shape[1:]))
            outputs = self._model(images, training=False)
            # Clustering is done in float32 whatever the network computes in.
            return tf.nest.map_structure(
                lambda output: tf.cast(output[:count], tf.float32), outputs
            )

        def compute(images):
            return self._strategy.run(on_replica, args=(images,))

        return tf.function(compute, input_signature=[element_spec], autograph=False)

    def _gather(self, replicas) -> np.ndarray:
        parts = self._strategy.experimental_local_results(replicas)
        return np.concatenate([part.numpy() for part in parts])

    def __call__(self, dataset: tf.data.Dataset) -> Iterator[np.ndarray]:
        """Yields the features of each batch of the dataset.

        Args:
            dataset: Batches of images; their order is kept.

        Yields:
            Features, float32 `(b, feature_dim)`; for a model with several outputs, a list of them.
        """
        dataset = self._strategy.experimental_distribute_dataset(dataset)
        for images in dataset:
            parts = self._strategy.experimental_local_results(images)
            size = max(len(part) for part in parts)
            if size > self._size:
                self._step, self._size = self._trace(dataset.element_spec, size), size
            yield tf.nest.map_structure(self._gather, self._step(images))


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
        DegenerateDataError: If features are not finite or all alike.
    """
    sample = np.arange(num_images)
    if num_images > pca_images:
        sample = np.sort(rng.choice(num_images, pca_images, replace=False))
    rest = np.setdiff1d(np.arange(num_images), sample, assume_unique=True)

    with tqdm(
        total=num_images, desc="features", unit=" images", disable=not progress, leave=False
    ) as bar:
        features = None
        start = 0
        for batch in extract(sample):
            if features is None:
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


def _check_finite(features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise DegenerateDataError(
            f"The network's features are not finite. Received: NaN or infinity for {bad} of "
            f"{len(features)} images of a batch. The training has diverged: lower "
            "--learning_rate, and start from a checkpoint that was still good or anew."
        )
    return features
