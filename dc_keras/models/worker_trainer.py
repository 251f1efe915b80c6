"""The trainer under MultiWorkerMirroredStrategy, where Keras 3.15's `fit` does not work as it is.

Two things are in its way, and a test of each fails when Keras changes them:

- Before the first epoch `fit` builds the model by a batch, which it reduces over replicas although
  other workers have none to give. The trainer is built already: its network is a functional one,
  and `compile` builds both optimizers.
- The logs of a step are reduced over axis 0 of each replica's value, and those of a metric have
  none. Here they are vectors of one number.

And one thing is for speed: batches come to `fit` as what each worker made of its own share, where
Keras would have every worker read all of them.
"""

from collections.abc import Callable

import tensorflow as tf

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
    strategy: tf.distribute.Strategy, make: Callable[[], tf.data.Dataset], steps: int
) -> tf.distribute.DistributedDataset:
    """Batches that each worker makes by itself, as `fit` takes them.

    Args:
        strategy: Of several workers, or replicas.
        make: Makes this worker's batches: of a step one for each of its replicas, in turn.
        steps: Steps in an epoch.
    """
    batches = strategy.distribute_datasets_from_function(lambda context: make())
    # TensorFlow counts the batches of all replicas of a worker, and Keras takes them for steps. An
    # object of ours around it would not do: Keras knows distributed datasets by their class's name.
    batches._cardinality = steps
    return batches
