"""Keeps the network the same on all replicas and workers."""

import keras
import numpy as np

from dc_keras.clustering.spread import ALONE, Workers


class SameWeights(keras.callbacks.Callback):
    """Gives all replicas and workers the first one's network before images are clustered by it.

    Each replica counts its own running means of batch norm, and by those of another an image would
    have other features. The first one's are those of checkpoints and of the result, as in the
    public code, whose replicas end with each step.

    All else is the same on all workers but for rounding: they begin alike and add the same
    gradients. Processors of different kinds round differently, and over hundreds of epochs networks
    would part that learn from one clustering; so weights and optimizers go to all workers, too.

    Args:
        workers: Who train together.
    """

    def __init__(self, workers: Workers = ALONE):
        super().__init__()
        self._workers = workers

    def on_epoch_begin(self, epoch, logs=None):
        self._make_same()

    def on_train_end(self, logs=None):
        self._make_same()

    def _make_same(self) -> None:
        if self.model.distribute_strategy.num_replicas_in_sync == 1:
            return
        variables = [*self.model.non_trainable_variables]
        if self._workers is not ALONE:
            optimizers = (self.model.optimizer, self.model.head_optimizer)
            variables += self.model.trainable_variables
            variables += [one for optimizer in optimizers for one in optimizer.variables]

        def of_first() -> list[np.ndarray]:
            return [keras.ops.convert_to_numpy(variable) for variable in variables]

        values = self._workers.from_first(of_first)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
