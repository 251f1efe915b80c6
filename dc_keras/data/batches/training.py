"""The batches of an epoch: images drawn over the clusters, augmented, from any of them on."""

import dataclasses

import numpy as np
import tensorflow as tf

from dc_keras.data.batches.augmented import augmented_batches
from dc_keras.data.batches.sampler import Sampler
from dc_keras.data.batches.share import WHOLE, Share
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.image_source import ImageSource


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The training pipeline: a sampler, then read, decode, random crop, flip and colours.

    The augmentation of an image is drawn from (epoch, position in the epoch).

    Attributes:
        source: The images.
        sampler: Which of them, with which pseudo-labels.
        augmentation: How they are changed.
        steps: Batches in an epoch.
        batch_size: Crops in a batch, over all replicas; a multiple of `augmentation.views`.
        share: Which rows of each batch are made here, where other workers make others.
    """

    source: ImageSource
    sampler: Sampler
    augmentation: Augmentation
    steps: int
    batch_size: int
    share: Share = WHOLE

    @property
    def draws(self) -> int:
        """Images that are drawn for an epoch."""
        return self.steps * self.batch_size // self.augmentation.views

    def dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """The batches of an epoch.

        Args:
            first_step: Batches to leave out from its beginning, whose images are not read.

        Returns:
            A dataset with elements (images uint8 `(b, s, s, 3)`, labels int32 `(b,)`), and weights
            float32 `(b,)` as a third where the sampler gives some. Its length is known but where it
            is a share.
        """
        return augmented_batches(
            self.source,
            self.sampler.pairs(self.draws),
            self.sampler.epoch_seed,
            self.augmentation,
            batch_size=self.batch_size,
            first_batch=first_step,
            share=self.share,
        )

    def upcoming(self, first_step: int, count: int) -> np.ndarray:
        """Images that are about to be read, integers `(at most count,)`.

        Args:
            first_step: Batches of the epoch that are done.
            count: How many images.
        """
        done = first_step * self.batch_size // self.augmentation.views
        pairs = self.sampler.pairs(self.draws).skip(done).take(count)
        return np.array([pair[0] for pair in pairs.as_numpy_iterator()], np.int64)
