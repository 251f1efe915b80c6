"""The trainer under MultiWorkerMirroredStrategy, where Keras 3.15's `fit` does not work as it is.

Two things are in its way, and a test of each fails when Keras changes them:

- Before the first epoch `fit` builds the model by a batch; one that is distributed it reduces over
  replicas, which fails. The trainer is built already: its network is a functional one, and
  `compile` builds both optimizers.
- The logs of a step are reduced over axis 0 of each replica's value, and those of a metric have
  none. Here they are vectors of one number.

And one thing is for speed: batches come to `fit` as what each worker made of its own share, where
Keras would have every worker read all of them.
"""

from collections.abc import Callable, Iterator

import tensorflow as tf

from dc_keras.machine import devices_of
from dc_keras.models.deepcluster import DeepCluster


class WorkerTrainer(DeepCluster):
    """DeepCluster on several machines; see the module's text."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds nothing: that is done."""

    def train_step(self, data):
        """As `DeepCluster.train_step`, with logs that can be reduced over workers."""
        logs = super().train_step(data)
        return {name: tf.reshape(value, [1]) for name, value in logs.items()}


def trainer_under(strategy: tf.distribute.Strategy) -> type[DeepCluster]:
    """The trainer that a strategy needs: a cluster of one worker is for Keras like none."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return DeepCluster
    tasks = strategy.cluster_resolver.cluster_spec().as_dict().values()
    return WorkerTrainer if sum(map(len, tasks)) > 1 else DeepCluster


def own_batches(
    strategy: tf.distribute.Strategy,
    dataset: tf.data.Dataset,
    steps: int,
    read: Callable[[], Iterator] | None = None,
) -> tf.distribute.DistributedDataset:
    """Batches that each worker makes by itself, as `fit` takes them.

    Args:
        strategy: Of several workers, or replicas.
        dataset: This worker's batches: of a step one for each of its replicas, in turn.
        steps: Steps in an epoch.
        read: Iterates over them, where this is more than `iter`; of one replica alone.
    """
    batches = strategy.distribute_datasets_from_function(lambda context: dataset)
    if len(devices_of(strategy)) == 1:
        return _undistributed(type(batches))(dataset, steps, read or (lambda: iter(dataset)))
    # TensorFlow counts the batches of all replicas of a worker, and Keras takes them for steps.
    batches._cardinality = steps
    return batches


def _undistributed(kind: type) -> type:
    """The class of datasets that `fit` takes for distributed ones, and reads as they are.

    A worker with one device has nothing to distribute. TensorFlow's iterator of distributed
    datasets would ask all workers before each step whether they have a batch, and its thread that
    tunes pipelines keeps an epoch from ending, for up to 10 s. Keras knows distributed datasets by
    the name of their class, hence a subclass.
    """

    class OwnBatches(kind):
        def __init__(self, dataset: tf.data.Dataset, steps: int, read: Callable[[], Iterator]):
            self._of_worker = dataset
            self._steps = steps
            self._read = read

        def __iter__(self):
            return self._read()

        @property
        def element_spec(self):
            return self._of_worker.element_spec

        @property
        def cardinality(self) -> int:
            return self._steps

    return OwnBatches
