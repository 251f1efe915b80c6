"""How many threads tf.data reads images with, and that it changes nothing about it."""

import os

import tensorflow as tf

# Images that are read and decoded at a time.
READERS = os.cpu_count() or 1


def as_given(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Keeps tf.data from changing a pipeline: no part of the data, no other numbers of threads.

    Batches are shared out among replicas, so that nothing else needs to be.

    tf.data would look for better numbers of threads in a thread that now and then does not notice
    that the iterator ends. Whoever lets go of the iterator then waits for the thread's next look:
    as long as the iterator has been in use, up to a minute, in which nothing is done. On small data
    that was half of the time of every other epoch (TensorFlow 2.21: the destructor of
    `RootDataset::Iterator` joins `Model::OptimizeLoop`, which is woken before it can see that it is
    cancelled).

    Args:
        dataset: Any.

    Returns:
        The same with these options.
    """
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False
    return dataset.with_options(options)
