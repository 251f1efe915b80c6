"""The training step, the head that starts anew, and what depends on the epoch alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.machine import make_strategy, precision_of_layers
from dc_keras.models.compact import build_compact
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster, plain_network
from dc_keras.models.instance_contrast import instance_contrast
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from marks import LONG

SIZE, CLUSTERS = 32, 5


def tiny_network(**options):
    options = {"dropout": 0.0, "scaled_fc_init": True} | options
    return build_vgg16(NetworkOptions(image_size=SIZE, width=0.0625, **options), CLUSTERS)


def build(learning_rate=0.05, l2=1e-3, batch_norm=True, precision="float32", **options):
    """A compiled trainer; options are of the network."""
    with precision_of_layers(precision):
        network = tiny_network(**options)
        model = DeepCluster(network.input, network.output)
    for layer in model.layers:
        if not batch_norm and layer.name.startswith("bn"):
            layer.trainable = False  # frozen: uses its running statistics
    model.compile(
        CoupledSGD(learning_rate, 0.9, l2), CoupledSGD(learning_rate, 0.0, l2, name="head_sgd")
    )
    return model


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("mixed_float16", marks=LONG),
    ],
)
def test_xla_computes_the_same_steps(two_devices, batches, precision):
    """Sums are taken in another order; steps are small, or such differences would grow."""
    images, labels = (array.reshape(32, *array.shape[2:]) for array in batches)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    found = []
    for xla in (False, True):
        with make_strategy("one").scope():
            model = build(learning_rate=1e-4, precision=precision)
            model.compile(model.optimizer, model.head_optimizer, xla=xla)
        assert model.jit_compile == xla
        losses = model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
        found.append((losses, np.concatenate([each.ravel() for each in model.get_weights()])))
    (plain, weights), (compiled, others) = found
    tolerance = 1e-4 if precision == "float32" else 1e-2
    np.testing.assert_allclose(compiled, plain, rtol=tolerance)
    np.testing.assert_allclose(others, weights, atol=tolerance)


def learn(model, batches):
    """Two steps, without a graph, which takes longer to trace."""
    for step in range(2):
        model.train_step(tuple(tf.constant(array[step]) for array in batches))


@pytest.fixture
def batches(rng):
    images = rng.integers(0, 256, (4, 8, SIZE, SIZE, 3), dtype="uint8")
    labels = rng.integers(0, CLUSTERS, (4, 8)).astype("int32")
    return images, labels


def test_a_step_against_one_written_out(batches):
    """Three steps of train_step against gradients and updates by hand, in eager TensorFlow."""
    images, labels = batches
    model, twin = build(), build()
    velocity = [tf.zeros(v.shape) for v in twin.backbone_variables]
    model.run_eagerly = True
    for x, y in zip(images[:3], labels[:3], strict=True):
        model.train_step((tf.constant(x), tf.constant(y)))
        with tf.GradientTape(persistent=True) as tape:
            log_softmax = tf.nn.log_softmax(twin(x, training=True))
            loss = -tf.reduce_mean(tf.gather(log_softmax, y, batch_dims=1))
        backbone = twin.backbone_variables
        for i, (g, v) in enumerate(zip(tape.gradient(loss, backbone), backbone, strict=True)):
            velocity[i] = 0.9 * velocity[i] - 0.05 * (g + 1e-3 * v)
            v.assign_add(velocity[i])
        head = twin.head.trainable_variables
        for g, v in zip(tape.gradient(loss, head), head, strict=True):
            v.assign_sub(0.05 * (g + 1e-3 * v))
    for got, want in zip(model.weights, twin.weights, strict=True):
        # Rounding of float32 gradients over three steps.
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=got.path)


def test_every_weight_learns(batches):
    model = build(dropout=0.5)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(tf.data.Dataset.from_tensor_slices(batches), shuffle=False, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, new), new.path


def test_the_front_end_has_nothing_to_learn():
    model = build()
    names = {v.path.split("/")[0] for v in model.trainable_variables}
    assert not names & {"sobel", "normalize"}
    # Kernel, bias, gamma and beta of 13 convolutions; kernel and bias of three dense layers.
    assert len(model.trainable_variables) == 13 * 4 + 3 * 2


@pytest.mark.parametrize(
    ("weighted", "precision", "tolerance"),
    [
        pytest.param(False, "float32", 1e-5, marks=LONG),
        (True, "float32", 1e-5),
        (False, "mixed_float16", 5e-3),
    ],
)
def test_two_replicas_equal_one_device(batches, two_devices, weighted, precision, tolerance):
    """Same weights after several steps, without dropout.

    Batch norm is frozen here, because replicas normalise over their own images, as published.
    """
    data = batches
    if weighted:
        data = (*batches, np.linspace(0.1, 3, 32, dtype="float32").reshape(4, 8))
    weights = []
    for name in ("one", "mirrored"):
        with make_strategy(name, 2).scope():
            model = build(batch_norm=False, learning_rate=0.01, precision=precision)
        dataset = tf.data.Dataset.from_tensor_slices(data).repeat(2)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        history = model.fit(dataset.with_options(options), shuffle=False, verbose=0)
        weights.append([history.history["loss"][0], *(w.numpy() for w in model.weights)])
    for one, mirrored in zip(*weights, strict=True):
        np.testing.assert_allclose(one, mirrored, atol=tolerance)
    start = build(batch_norm=False).get_layer("fc7").get_weights()[0]
    assert np.abs(start - weights[0][-4]).max() > 1e-4, "the weights did not move"


def changes(precision, batches, before=lambda model: None, **options):
    """What one step changes in the weights of the head and of the backbone."""
    images, labels = batches
    model = build(precision=precision, **options)
    start = [weight.numpy() for weight in model.trainable_variables]
    before(model)
    logs = model.train_step((tf.constant(images[0]), tf.constant(labels[0])))
    change = [
        (now.numpy() - was).ravel()
        for was, now in zip(start, model.trainable_variables, strict=True)
    ]
    heads = len(model.head.trainable_variables)
    return model, float(logs["loss"]), np.concatenate(change[:-heads]), change[-heads]


@pytest.mark.parametrize("options", [{}, {"fc_norm": True, "temperature": 0.1}])
@pytest.mark.parametrize(
    ("precision", "cosine"), [("mixed_bfloat16", 0.6), ("mixed_float16", 0.95)]
)
def test_a_step_in_mixed_precision_is_nearly_that_of_float32(batches, precision, cosine, options):
    """Types have 8 and 11 significant bits over 13 layers.

    Where they decide otherwise whether a ReLU passes its value, whole gradients differ.
    """

    def scale(model):
        if precision == "mixed_float16":  # the first one, 2**15, is made to be found too large
            model.optimizer.dynamic_scale.assign(2.0**7)

    _, wanted_loss, *wanted = changes("float32", batches, **options)
    _, loss, *got = changes(precision, batches, scale, **options)
    assert loss == pytest.approx(wanted_loss, rel=0.1)
    for now, want in zip(got, wanted, strict=True):
        lengths = np.linalg.norm(now) * np.linalg.norm(want)
        assert np.sum(now * want) > cosine * lengths


@pytest.mark.parametrize("options", [{}, {"fc_norm": True, "temperature": 0.1}])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_mixed_precision_computes_in(batches, precision, options):
    model = build(precision=f"mixed_{precision}", **options)
    assert {layer.compute_dtype for layer in model.layers} == {precision, "float32"}
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert model.get_layer("conv1_1").compute_dtype == precision
    assert model.get_layer("sobel").compute_dtype == "float32"
    assert model(batches[0][0], training=False).dtype == tf.float32


def test_each_optimizer_has_its_own_loss_scale(batches):
    def scale_head(model):
        model.head_optimizer.dynamic_scale.assign(4.0)

    _, _, backbone, head = changes("mixed_float16", batches)
    _, _, same_backbone, same_head = changes("mixed_float16", batches, scale_head)
    np.testing.assert_array_equal(backbone, same_backbone)
    # Scales are powers of 2, so nothing is rounded.
    np.testing.assert_array_equal(head, same_head)


def test_a_step_that_overflows_is_left_out_and_scaled_down(batches):
    def scale(model):
        model.optimizer.dynamic_scale.assign(2.0**100)

    model, _, backbone, head = changes("mixed_float16", batches, scale)
    assert not backbone.any()
    assert head.any() and np.isfinite(head).all()
    assert model.optimizer.dynamic_scale.numpy() == 2.0**99


def test_a_loss_scale_goes_on_when_the_head_starts_anew():
    model = build(precision="mixed_float16")
    model.head_optimizer.dynamic_scale.assign(2.0**9)
    model.redraw_head(seed=1, turn=0)
    assert model.head_optimizer.dynamic_scale.numpy() == 2.0**9


def step_with_weights(batches, weights):
    """One step of the head alone: its bias, which starts at 0, loss and probabilities before."""
    images, labels = batches[0][0], batches[1][0]
    model = build(l2=0.0, batch_norm=False)
    probabilities = tf.nn.softmax(model(images, training=True)).numpy()
    model.run_eagerly = True
    data = (images, labels) if weights is None else (images, labels, weights)
    logs = model.train_step(tuple(map(tf.constant, data)))
    return model.head.bias.numpy(), float(logs["loss"]), probabilities


def test_weights_of_one_change_nothing(batches):
    without, loss, _ = step_with_weights(batches, None)
    with_ones, same_loss, _ = step_with_weights(batches, np.ones(8, "float32"))
    np.testing.assert_array_equal(without, with_ones)
    assert loss == same_loss


def test_weights_multiply_the_losses_of_images(batches, rng):
    """The head's gradient and the loss by hand."""
    labels, weights = batches[1][0], rng.exponential(size=8).astype("float32")
    bias, loss, probabilities = step_with_weights(batches, weights)
    # d loss / d bias = mean of w (p - y).
    errors = probabilities - np.eye(CLUSTERS)[labels]
    np.testing.assert_allclose(bias, -0.05 * (weights[:, None] * errors).mean(0), atol=1e-6)
    losses = -np.log(probabilities[np.arange(8), labels])
    assert loss == pytest.approx(float((weights * losses).mean()), rel=1e-4)


def test_a_head_that_is_redrawn_follows_the_first_distribution(batches):
    model = build()
    learn(model, batches)
    assert model.head.bias.numpy().any()
    model.redraw_head(31, 3)
    kernel, bias = (v.numpy() for v in model.head.trainable_variables)
    stddev = model.head.kernel_initializer.stddev
    assert kernel.std() == pytest.approx(stddev, rel=5 / (2 * kernel.size) ** 0.5)
    assert not bias.any()


def test_each_turn_draws_another_head():
    model, kernels = build(), []
    for turn in (3, 4, 3):
        model.redraw_head(31, turn)
        kernels.append(model.head.kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[1])


def test_a_linear_head_from_centers(rng):
    """Centres that are orthogonal behind the ReLU are told apart at once."""
    model = build()
    centers = np.zeros((CLUSTERS, 256))
    centers[np.arange(CLUSTERS), np.arange(CLUSTERS)] = 3.0
    centers[:, CLUSTERS:] = -rng.random((CLUSTERS, 256 - CLUSTERS))  # which the ReLU takes away
    model.start_head_from(centers)
    logits = np.maximum(centers, 0) @ model.head.kernel.numpy() + model.head.bias.numpy()
    assert (logits.argmax(1) == np.arange(CLUSTERS)).all()
    lengths = np.linalg.norm(model.head.kernel.numpy(), axis=0)
    wanted = model.head.kernel_initializer.stddev * 256**0.5
    np.testing.assert_allclose(lengths, wanted, rtol=1e-5)


def test_centers_that_are_all_alike_have_no_direction_to_give():
    model = build()
    model.start_head_from(np.ones((CLUSTERS, 256)))
    assert not model.head.kernel.numpy().any()


def test_a_cosine_head_from_centers(rng):
    model = build(temperature=0.1)
    centers = rng.normal(size=(CLUSTERS, 256)).astype("float32")
    model.start_head_from(centers)
    logits = np.asarray(model.head(centers))
    np.testing.assert_allclose(logits.diagonal(), 10.0, atol=1e-4)
    assert (logits.argmax(1) == np.arange(CLUSTERS)).all()


def test_a_head_behind_a_projection_from_centers(rng):
    """The head sees what the projection makes of the centres."""
    options = NetworkOptions(image_size=SIZE, width=0.0625, fc_norm=True, temperature=0.1)
    network = build_compact(options, CLUSTERS)
    model = DeepCluster(network.input, network.output)
    model.compile(CoupledSGD(0.05), CoupledSGD(0.05, name="head_sgd"))
    centers = rng.normal(size=(CLUSTERS, 32)).astype("float32")
    model.start_head_from(centers)
    behind = keras.Model(model.get_layer("fc7").output, model.output)
    np.testing.assert_allclose(np.diagonal(behind(centers)), 10.0, atol=1e-4)


@pytest.mark.parametrize("side", [16, SIZE])
def test_crops_may_be_smaller_than_the_input(rng, side):
    """Against the loss of a network that was built for crops of that size."""
    options = {"width": 0.0625, "fc_norm": True, "dropout": 0.0, "temperature": 0.1}
    network = build_compact(NetworkOptions(image_size=SIZE, **options), CLUSTERS)
    model = DeepCluster(network.input, network.output)
    model.compile(CoupledSGD(0.05), CoupledSGD(0.05, name="head_sgd"))
    images = rng.integers(0, 256, (8, side, side, 3), dtype="uint8")
    labels = rng.integers(0, CLUSTERS, 8).astype("int32")
    twin = build_compact(NetworkOptions(image_size=side, **options), CLUSTERS)
    twin.set_weights(network.get_weights())
    logits = twin(images, training=True)
    wanted = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    figures = model.train_step((tf.constant(images), tf.constant(labels)))
    assert float(figures["loss"]) == pytest.approx(float(wanted), rel=1e-5)
    assert model.input_shape == (None, SIZE, SIZE, 3)


def momentum_of(optimizer):
    return [v.numpy() for v in optimizer.variables if "momentum" in v.path]


def test_redrawing_the_head_keeps_the_backbones_momentum(batches):
    model = build()
    learn(model, batches)
    before = momentum_of(model.optimizer)
    model.redraw_head(31, 1)
    assert len(before) == len(model.backbone_variables)
    for old, new in zip(before, momentum_of(model.optimizer), strict=True):
        assert old.any()
        np.testing.assert_array_equal(old, new)


def test_a_schedule_goes_on_when_the_head_starts_anew(batches):
    model = build()
    learn(model, batches)
    model.redraw_head(31, 1)
    assert int(model.head_optimizer.iterations.numpy()) == 2
    assert float(model.head_optimizer.learning_rate.numpy()) == pytest.approx(0.05)


def test_a_momentum_of_the_head_starts_anew(batches):
    network = tiny_network()
    model = DeepCluster(network.input, network.output)
    model.compile(CoupledSGD(0.05, 0.9), CoupledSGD(0.05, 0.9, name="head_sgd"))
    learn(model, batches)
    assert all(one.any() for one in momentum_of(model.head_optimizer))
    model.redraw_head(31, 1)
    assert not any(one.any() for one in momentum_of(model.head_optimizer))


def test_dropout_repeats_by_epoch(batches):
    model = build(dropout=0.5)
    images = batches[0][0]
    outputs = []
    for epoch in (0, 1, 0):
        model.reseed_dropout(31, epoch)
        outputs.append(np.asarray(model(images, training=True)))
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.fixture
def two_tasks():
    """A trainer that learns clusters and images, and the features that it tells images by."""
    network = tiny_network(fc_norm=True, temperature=0.1)
    model = DeepCluster(network.input, network.output)
    model.compile(
        CoupledSGD(0.05, 0.9),
        CoupledSGD(0.05, 0.0, name="head_sgd"),
        instance_weight=0.3,
        instance_temperature=0.5,
    )
    return model, network.get_layer("fc7").output


def test_the_loss_is_shared_between_clusters_and_images(batches, two_tasks):
    model, features = two_tasks
    images, labels = batches[0][0], np.repeat(batches[1][0][:4], 2)
    both = keras.Model(model.input, [features, model.output])
    features, logits = both(images, training=True)
    clusters = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    expected = 0.7 * clusters + 0.3 * instance_contrast(features, labels, 0.5)
    loss = model.train_step((tf.constant(images), tf.constant(labels)))["loss"]
    # Two orders of float32 sums.
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)


def test_every_weight_learns_from_clusters_and_images(batches, two_tasks):
    model, _ = two_tasks
    images, labels = batches[0][0], np.repeat(batches[1][0][:4], 2)
    before = [np.array(variable) for variable in model.trainable_variables]
    model.train_step((tf.constant(images), tf.constant(labels)))
    for was, now in zip(before, model.trainable_variables, strict=True):
        # What batch norm follows has a bias without effect.
        if not ("conv" in now.path and "bias" in now.path):
            assert (was != np.array(now)).any(), now.path


def test_a_step_adds_no_layer_to_the_model(batches, two_tasks):
    model, _ = two_tasks
    layers = [layer.name for layer in model.layers]
    model.train_step((tf.constant(batches[0][0]), tf.constant(batches[1][0])))
    assert [layer.name for layer in model.layers] == layers


def test_a_plain_network_is_the_trainers_own(batches):
    model = build()
    network = plain_network(model)
    learn(model, batches)
    assert not isinstance(network, DeepCluster)
    images = batches[0][0]
    np.testing.assert_array_equal(network(images), model(images))
