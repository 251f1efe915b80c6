"""How tf.data applies functions to images: in how many threads, as they are written, unchanged."""

import os
from collections.abc import Callable

import tensorflow as tf

# Images that are read and decoded at a time.
READERS = os.cpu_count() or 1


def in_threads(
    function: Callable, *, num_threads: int = READERS, in_order: bool = True
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Maps a function, for `Dataset.apply`.

    Autograph is left out. It would translate the Python statements of the function, and of all that
    it calls, into operations; branches here are operations as they are written, and looking for
    others took four seconds of the start of every run.

    Args:
        function: What `Dataset.map` takes, made of TensorFlow operations.
        num_threads: Elements that it is applied to at a time.
        in_order: Whether elements come out in the order in which they went in.

    Returns:
        A function from the dataset to that of the results.
    """
    as_written = tf.autograph.experimental.do_not_convert(function)
    return lambda dataset: dataset.map(
        as_written, num_parallel_calls=num_threads, deterministic=in_order
    )


def unchanged(dataset: tf.data.Dataset) -> tf.data.Dataset:
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
