"""The trainer around the network: one step of learning to predict pseudo-labels.

The backbone learns with SGD and momentum, or with Muon, the head with a plain SGD of its own, with
coupled weight decay. The head is re-drawn whenever the clusters change, because cluster ids carry
no meaning from one clustering to the next.
"""

import keras
import numpy as np
import tensorflow as tf

from dc_keras.models.feature_extractor import FEATURES
from dc_keras.models.instance_contrast import instance_contrast
from dc_keras.models.layers import CosineHead
from dc_keras.seeds import numpy_rng


class DeepCluster(keras.Model):
    """A network with a `head` layer, and how it learns from pseudo-labels.

    Build it from a functional network, in the scope of the strategy that will train it:

        network = build_network(NetworkOptions(image_size=224), num_clusters)
        model = DeepCluster(network.input, network.output)
        model.compile(CoupledSGD(0.05, 0.9, 1e-5), CoupledSGD(0.05, 0.0, 1e-5))
    """

    def compile(
        self,
        optimizer,
        head_optimizer,
        *,
        instance_weight=0.0,
        instance_temperature=0.2,
        instance_views=2,
        xla=False,
    ):
        """Sets the two optimizers, and what is learned beside the clusters.

        Args:
            optimizer: For everything but the head; keeps its state over all epochs.
            head_optimizer: For the head; starts anew with every clustering.
            instance_weight: Part of the loss, in [0, 1], that is `instance_contrast` and not the
                prediction of clusters. Above 0, views of an image must stand one behind the other
                in a batch.
            instance_temperature: Its temperature.
            instance_views: How many views there are of each image.
            xla: Whether XLA compiles the step. On a GPU it takes a third of the time then; on CPUs
                four to six times as long.
        """
        if self.compute_dtype == "float16":
            # Small gradients would vanish. Names make the paths of their variables differ.
            optimizer, head_optimizer = (
                keras.optimizers.LossScaleOptimizer(one, name=f"{one.name}_loss_scale")
                for one in (optimizer, head_optimizer)
            )
        super().compile(optimizer=optimizer, jit_compile=xla)
        self.head_optimizer = head_optimizer
        self.optimizer.build(self.backbone_variables)
        self.head_optimizer.build(self.head.trainable_variables)
        self._instance_weight = instance_weight
        self._instance_temperature = instance_temperature
        self._instance_views = instance_views
        self.loss_mean = keras.metrics.Mean("loss")
        self.accuracy_mean = keras.metrics.Mean("accuracy")

    @property
    def head(self) -> keras.layers.Dense:
        """The layer whose outputs are the clusters."""
        return self.get_layer("head")

    @property
    def backbone_variables(self) -> list:
        """Every trained variable but the head's."""
        head = {id(variable) for variable in self.head.trainable_variables}
        return [variable for variable in self.trainable_variables if id(variable) not in head]

    @property
    def metrics(self) -> list:
        return [self.loss_mean, self.accuracy_mean]

    def train_step(self, data):
        """Predicts the pseudo-labels of one batch and updates all weights.

        The loss is the mean over the global batch: each replica divides its mean by the number of
        replicas, and the optimizers add up the gradients. Weights of images, where the sampler
        gives some, multiply their losses; the mean stays one over images, so that its expectation
        does not depend on how they meet in batches.

        Reference:
            Caron et al. 2018, equation 1; for the views, see `instance_contrast`.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        head_variables = self.head.trainable_variables
        backbone_variables = self.backbone_variables
        # Made when the step is traced; as an attribute it would count as a layer.
        seen_by_head = at_size(
            keras.Model(self.input, [self.head.input, self.output]), images.shape[1]
        )
        with tf.GradientTape() as tape:
            projected, logits = seen_by_head(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, tf.cast(logits, tf.float32)
            )
            if weights is not None:
                losses *= weights
            if self._instance_weight:
                contrast = instance_contrast(
                    projected, labels, self._instance_temperature, self._instance_views
                )
                weight = self._instance_weight
                losses = (1.0 - weight) * losses + weight * contrast
            loss = self.optimizer.scale_loss(tf.reduce_mean(losses) / replicas)
        gradients = tape.gradient(loss, backbone_variables + head_variables)
        split = len(backbone_variables)
        gradients, head_gradients = gradients[:split], gradients[split:]
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # Each optimizer finds a scale of its own, and divides by that.
            ratio = self.head_optimizer.dynamic_scale / self.optimizer.dynamic_scale
            head_gradients = [gradient * ratio for gradient in head_gradients]
        self.optimizer.apply(gradients, backbone_variables)
        self.head_optimizer.apply(head_gradients, head_variables)

        predictions = tf.argmax(logits, axis=-1, output_type=labels.dtype)
        self.loss_mean.update_state(losses)
        self.accuracy_mean.update_state(tf.cast(predictions == labels, tf.float32))
        return self.get_metrics_result()

    def redraw_head(self, seed: int, turn: int) -> None:
        """Gives the head new weights, bias 0, and its optimizer a fresh start.

        The weights follow the same normal distribution as the first ones.

        Args:
            seed: The run's seed.
            turn: Number of the clustering that the head is for.
        """
        shape = self.head.kernel.shape
        stddev = self.head.kernel_initializer.stddev
        self._start_head(numpy_rng(seed, "head", turn).normal(0.0, stddev, shape))

    def start_head_from(self, centers: np.ndarray) -> None:
        """Makes the head tell clusters by their centres, and gives its optimizer a fresh start.

        The row of a cosine head is the centre itself, behind the layers that stand between features
        and head. The row of a linear head is the same, behind the ReLU that it sees, less the mean
        of all centres; rows are as long on average as those drawn at random.

        Args:
            centers: Features of the clusters' centres, float `(num_clusters, feature_dim)`.
        """
        rows = self._as_the_head_sees(centers)
        if isinstance(self.head, CosineHead):
            kernel = rows.T
        else:
            rows = rows - rows.mean(axis=0)
            length = np.linalg.norm(rows, axis=1).mean()
            wanted = self.head.kernel_initializer.stddev * rows.shape[1] ** 0.5
            # Centres that are all alike have no direction to give.
            kernel = rows.T * (wanted / length if length > 0 else 1.0)
        self._start_head(kernel)

    def _as_the_head_sees(self, features: np.ndarray) -> np.ndarray:
        """Features `(n, d)` behind the layers that stand between them and the head."""
        start, end = self.get_layer(FEATURES).output, self.head.input
        if start is end:
            return features
        between = keras.Model(start, end)
        return np.array(between(features.astype("float32"), training=False), np.float32)

    def _start_head(self, kernel: np.ndarray) -> None:
        self.head.kernel.assign(kernel.astype("float32"))
        if self.head.use_bias:
            self.head.bias.assign(np.zeros(kernel.shape[1], "float32"))
        # A loss scale goes on as well.
        optimizer = getattr(self.head_optimizer, "inner_optimizer", self.head_optimizer)
        # Its count of steps goes on, since the learning rate may follow it.
        kept = (optimizer.iterations, optimizer.learning_rate)
        for variable in optimizer.variables:
            if not any(variable is one for one in kept):
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def reseed_dropout(self, seed: int, epoch: int) -> None:
        """Starts the draws of dropout anew, so that an epoch's draws depend on it alone.

        Args:
            seed: The run's seed.
            epoch: Number of the epoch.
        """
        for layer in self._dropouts():
            state = numpy_rng(seed, f"dropout {layer.name}", epoch).integers(0, 2**31, 2)
            layer.seed_generator.state.assign(state.astype("uint32"))

    @property
    def dropout_states(self) -> dict[str, keras.Variable]:
        """The variables that tell where the draws of dropout are, by layer."""
        return {layer.name: layer.seed_generator.state for layer in self._dropouts()}

    def _dropouts(self) -> list[keras.layers.Layer]:
        return [layer for layer in self.layers if getattr(layer, "seed_generator", None)]


def at_size(network: keras.Model, side: int) -> keras.Model:
    """A network for images of another size, of the same layers with the same weights.

    Args:
        network: From uint8 images `(n, s, s, 3)`; without layers that need maps of one size.
        side: Of the images that are wanted, in pixels.
    """
    if side == network.input_shape[1]:
        return network
    images = keras.Input((side, side, 3), dtype="uint8")
    return keras.models.clone_model(network, images, clone_function=lambda layer: layer)


def plain_network(model: keras.Model) -> keras.Model:
    """The network of a trainer, without its optimizers, sharing its weights."""
    return keras.Model(model.input, model.output, name="network")
