"""How many threads tf.data reads images with, and how it ends without a wait."""

import os

import tensorflow as tf

# Images that are read and decoded at a time.
READERS = os.cpu_count() or 1


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Keeps tf.data from looking for better numbers of threads than those that are given.

    It looks for them in a thread that now and then does not notice that the iterator ends.
    Whoever lets go of the iterator then waits for the thread's next look: as long as the iterator
    has been in use, up to a minute, in which nothing is done. On small data that was half of the
    time of every other epoch (TensorFlow 2.21: the destructor of `RootDataset::Iterator` joins
    `Model::OptimizeLoop`, which is woken before it can see that it is cancelled).

    Args:
        dataset: Any.

    Returns:
        The same with this option.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
