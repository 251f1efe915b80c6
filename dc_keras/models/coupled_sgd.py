"""The published optimizer: SGD with coupled weight decay."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="dc_keras")
class CoupledSGD(keras.optimizers.SGD):
    """SGD whose weight decay is an L2 penalty: its gradient passes through the momentum.

    `keras.optimizers.SGD(weight_decay=...)` shrinks the weights beside the momentum instead. The
    published method, as PyTorch's SGD, adds `l2 * weight` to the gradient of every trained
    variable, biases and batch norm included. The update is Keras's, in one operation where Keras
    has six: each passes over all weights in memory, which is a tenth of a step of large networks.

    Args:
        learning_rate: Step size.
        momentum: Momentum; 0 keeps no state.
        l2: Factor of the weight in its gradient.
    """

    def __init__(
        self, learning_rate=0.01, momentum=0.0, l2=0.0, name="coupled_sgd", **keyword_arguments
    ):
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, name=name, **keyword_arguments
        )
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        # Here the gradient is already summed over replicas, so the decay is added once.
        gradient = gradient + self.l2 * keras.ops.convert_to_tensor(variable)
        rate = tf.cast(learning_rate, gradient.dtype)
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=handle(variable), alpha=rate, delta=gradient
            )
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=handle(variable),
            accum=handle(self.momentums[self._get_variable_index(variable)]),
            lr=rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


def handle(variable) -> tf.Tensor:
    """The resource that TensorFlow's operations update: of Keras's variable, or of a replica's."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
