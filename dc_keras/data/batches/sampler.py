"""What draws the images of an epoch, with their pseudo-labels."""

import abc

import numpy as np
import tensorflow as tf

from dc_keras.seeds import derive_seed


class Sampler(abc.ABC):
    """Draws image indices with their pseudo-labels; labels can change between epochs.

    The labels live in variables on the CPU that the pipeline reads while it runs, so one
    `tf.data.Dataset` serves all epochs of one `model.fit`: a callback assigns new labels at the
    beginning of an epoch, and the fresh iterator that Keras makes afterwards sees them.

    Args:
        num_images: Number of images `n`.

    Attributes:
        epoch_seed: Seed of the epoch's draws, a variable; int32 scalar.
    """

    def __init__(self, num_images: int):
        with tf.device("CPU:0"):
            self._labels = tf.Variable(tf.zeros([num_images], tf.int32), trainable=False)
            self.epoch_seed = tf.Variable(0, dtype=tf.int32, trainable=False)

    def set_labels(self, labels: np.ndarray) -> None:
        """Hands over new pseudo-labels, integers `(n,)` from 0; `begin_epoch` must follow."""
        self._labels.assign(labels.astype(np.int32))

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Makes the draws of the next iterator those of one epoch, whatever came before."""
        self.epoch_seed.assign(derive_seed(seed, "sampling", epoch))

    @abc.abstractmethod
    def pairs(self, num_pairs: int) -> tf.data.Dataset:
        """The pairs of one epoch.

        Args:
            num_pairs: How many.

        Returns:
            A dataset of known length with elements (index, label), int32 scalars, or
            (index, label, weight of the loss), the last a float32 scalar. Each new iterator reads
            the labels and the epoch that hold when it is made.
        """
