"""The training step: optimizers, head, distribution."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.models.deepcluster import (
    CoupledSGD,
    DeepCluster,
    clustered_layer,
    feature_model,
)
from dc_keras.models.instance_contrast import instance_contrast
from dc_keras.models.vgg import build_vgg16
from dc_keras.runtime import make_strategy, precision_of_layers

SIZE, CLUSTERS = 32, 5


def build(
    momentum=0.9,
    dropout=0.0,
    learning_rate=0.05,
    l2=1e-3,
    batch_norm=True,
    precision="float32",
    **options,
):
    with precision_of_layers(precision):
        network = build_vgg16(
            SIZE, CLUSTERS, width=0.0625, dropout=dropout, scaled_fc_init=True, **options
        )
        model = DeepCluster(network.input, network.output)
    for layer in model.layers:
        if not batch_norm and layer.name.startswith("bn"):
            layer.trainable = False  # frozen: uses its running statistics
    model.compile(
        CoupledSGD(learning_rate, momentum, l2), CoupledSGD(learning_rate, 0.0, l2, name="head_sgd")
    )
    return model


@pytest.fixture
def batches(rng):
    images = rng.integers(0, 256, (4, 8, SIZE, SIZE, 3), dtype="uint8")
    labels = rng.integers(0, CLUSTERS, (4, 8)).astype("int32")
    return images, labels


def test_coupled_sgd_is_pytorchs_rule(rng):
    weights = rng.normal(size=6).astype("float32")
    gradients = rng.normal(size=(4, 6)).astype("float32")
    variable = keras.Variable(weights)
    optimizer = CoupledSGD(0.1, 0.9, 0.01)
    expected, velocity = weights.astype("float64"), 0.0
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
        # torch.optim.SGD: d = g + wd * w; buf = mu * buf + d; w = w - lr * buf.
        velocity = 0.9 * velocity + gradient + 0.01 * expected
        expected = expected - 0.1 * velocity
    # float32 rounding over four steps on values of size 1.
    np.testing.assert_allclose(np.asarray(variable), expected, atol=1e-6)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_without_decay_it_is_kerass_rule(rng, momentum, nesterov):
    """Also where the learning rate changes, which PyTorch's momentum would not remember."""
    weights = rng.normal(size=6).astype("float32")
    found = []
    for optimizer_class in (CoupledSGD, keras.optimizers.SGD):
        optimizer = optimizer_class(0.1, momentum, nesterov=nesterov)
        variable = keras.Variable(weights)
        for step, gradient in enumerate(np.random.default_rng(1).normal(size=(4, 6))):
            optimizer.learning_rate = 0.1 / (1 + step)
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        found.append([np.asarray(one) for one in (variable, *optimizer.variables)])
    for ours, kerass in zip(*found, strict=True):
        # float32 rounding over four steps on values of size 1.
        np.testing.assert_allclose(ours, kerass, atol=1e-6)


def test_weight_decay_is_not_keras_decoupled_one():
    coupled, decoupled = keras.Variable([1.0]), keras.Variable([1.0])
    zero = tf.constant([0.0])
    first = CoupledSGD(0.1, 0.9, 0.5)
    second = keras.optimizers.SGD(0.1, 0.9, weight_decay=0.5)
    for _ in range(2):
        first.apply([zero], [coupled])
        second.apply([zero], [decoupled])
    # Coupled: w1 = 1 - .05 = .95; v = .9 * -.05 - .1 * .5 * .95 = -.0925; w2 = .8575.
    assert float(coupled.numpy()[0]) == pytest.approx(0.8575, abs=1e-6)
    # Decoupled: each step multiplies by 1 - .05.
    assert float(decoupled.numpy()[0]) == pytest.approx(0.9025, abs=1e-6)


def test_optimizers_survive_saving():
    config = CoupledSGD(0.1, 0.9, 0.01).get_config()
    assert CoupledSGD.from_config(config).l2 == 0.01


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


def test_every_weight_learns_but_the_front_end(batches):
    images, labels = batches
    model = build(dropout=0.5)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(tf.data.Dataset.from_tensor_slices((images, labels)), shuffle=False, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, new), new.path
    names = {v.path.split("/")[0] for v in model.trainable_variables}
    assert not names & {"sobel", "normalize"}
    assert len(model.trainable_variables) == 13 * 4 + 3 * 2


@pytest.mark.parametrize(
    ("weighted", "precision", "tolerance"),
    [(False, "float32", 1e-5), (True, "float32", 1e-5), (False, "mixed_float16", 5e-3)],
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
def test_a_step_in_mixed_precision(batches, precision, cosine, options):
    """Nearly the step of float32.

    Types have 8 and 11 significant bits over 13 layers, and where they decide otherwise whether a
    ReLU passes its value, whole gradients differ.
    """

    def scale(model):
        if precision == "mixed_float16":  # the first one, 2**15, is made to be found too large
            model.optimizer.dynamic_scale.assign(2.0**7)

    _, wanted_loss, *wanted = changes("float32", batches, **options)
    model, loss, *got = changes(precision, batches, scale, **options)
    assert {layer.compute_dtype for layer in model.layers} == {precision[6:], "float32"}
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert model.get_layer("conv1_1").compute_dtype == precision[6:]
    assert model.get_layer("sobel").compute_dtype == "float32"
    assert model(batches[0][0], training=False).dtype == tf.float32
    assert loss == pytest.approx(wanted_loss, rel=0.1)
    for now, want in zip(got, wanted, strict=True):
        lengths = np.linalg.norm(now) * np.linalg.norm(want)
        assert np.sum(now * want) > cosine * lengths
    # The context is left as it was entered.
    assert keras.config.dtype_policy().name == "float32"


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
    model.redraw_head(seed=1, turn=0)
    assert model.head_optimizer.dynamic_scale.numpy() == 2.0**15


def test_weights_multiply_the_losses_of_images(batches, rng):
    """The head's gradient with weights, by hand; weights of 1 change nothing."""
    images, labels = batches[0][0], batches[1][0]
    weights = rng.exponential(size=8).astype("float32")
    heads = []
    for given in (None, np.ones(8, "float32"), weights):
        model = build(l2=0.0, batch_norm=False)
        probabilities = tf.nn.softmax(model(images, training=True)).numpy()
        model.run_eagerly = True
        data = (images, labels) if given is None else (images, labels, given)
        result = model.train_step(tuple(map(tf.constant, data)))
        heads.append(model.head.bias.numpy())  # from 0
    np.testing.assert_array_equal(heads[0], heads[1])
    # d loss / d bias = mean of w (p - y).
    errors = probabilities - np.eye(CLUSTERS)[labels]
    np.testing.assert_allclose(heads[2], -0.05 * (weights[:, None] * errors).mean(0), atol=1e-6)
    losses = -np.log(probabilities[np.arange(8), labels])
    assert float(result["loss"]) == pytest.approx(float((weights * losses).mean()), rel=1e-4)


def test_redrawing_the_head(batches):
    model = build()
    model.redraw_head(31, 3)
    first, bias = (v.numpy() for v in model.head.trainable_variables)
    stddev = model.head.kernel_initializer.stddev
    assert first.std() == pytest.approx(stddev, rel=5 / (2 * first.size) ** 0.5)
    assert not bias.any()
    model.redraw_head(31, 4)
    assert not np.array_equal(first, model.head.kernel)
    model.redraw_head(31, 3)
    np.testing.assert_array_equal(first, model.head.kernel)


def test_redrawing_some_rows_of_the_head(batches):
    model = build()
    images, labels = batches
    model.fit(tf.data.Dataset.from_tensor_slices((images, labels)), shuffle=False, verbose=0)
    kernel, bias = (v.numpy() for v in model.head.trainable_variables)
    keep = np.arange(CLUSTERS) % 2 == 0
    model.redraw_head(31, 3, keep=keep)
    new_kernel, new_bias = (v.numpy() for v in model.head.trainable_variables)
    np.testing.assert_array_equal(new_kernel[:, keep], kernel[:, keep])
    np.testing.assert_array_equal(new_bias[keep], bias[keep])
    assert bias[keep].any() and not new_bias[~keep].any()
    model.redraw_head(31, 3)
    np.testing.assert_array_equal(new_kernel[:, ~keep], model.head.kernel.numpy()[:, ~keep])


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
    model.start_head_from(np.ones((CLUSTERS, 256)))
    assert not model.head.kernel.numpy().any()


def test_a_cosine_head_from_centers(rng):
    network = build_vgg16(SIZE, CLUSTERS, width=0.0625, temperature=0.1)
    model = DeepCluster(network.input, network.output)
    model.compile(CoupledSGD(0.05), CoupledSGD(0.05, name="head_sgd"))
    centers = rng.normal(size=(CLUSTERS, 256)).astype("float32")
    model.start_head_from(centers)
    logits = np.asarray(model.head(centers))
    np.testing.assert_allclose(logits.diagonal(), 10.0, atol=1e-4)
    assert (logits.argmax(1) == np.arange(CLUSTERS)).all()


def test_redrawing_the_head_keeps_the_backbones_momentum(batches):
    images, labels = batches
    model = build()
    model.fit(tf.data.Dataset.from_tensor_slices((images, labels)), shuffle=False, verbose=0)
    momentum = [v.numpy() for v in model.optimizer.variables if "momentum" in v.path]
    assert len(momentum) == len(model.backbone_variables)
    model.redraw_head(31, 1)
    after = [v.numpy() for v in model.optimizer.variables if "momentum" in v.path]
    for old, new in zip(momentum, after, strict=True):
        assert old.any()
        np.testing.assert_array_equal(old, new)
    assert int(model.head_optimizer.iterations.numpy()) == 4  # which a schedule would follow
    assert float(model.head_optimizer.learning_rate.numpy()) == pytest.approx(0.05)


def test_dropout_repeats_by_epoch(batches):
    model = build(dropout=0.5)
    images = batches[0][0]
    outputs = []
    for epoch in (0, 1, 0):
        model.reseed_dropout(31, epoch)
        outputs.append(np.asarray(model(images, training=True)))
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert not np.array_equal(outputs[0], outputs[1])


def test_features_are_before_the_relu_and_without_dropout(batches):
    model = build(dropout=0.5)
    features = feature_model(model, "fc7")
    images = batches[0][0]
    values = np.asarray(features(images, training=False))
    assert values.shape == (8, 256)
    assert (values < 0).mean() > 0.2
    np.testing.assert_array_equal(values, np.asarray(features(images, training=False)))


def test_the_loss_is_shared_between_clusters_and_images(batches):
    images, labels = batches[0][0], np.repeat(batches[1][0][:4], 2)
    network = build_vgg16(
        SIZE, CLUSTERS, width=0.0625, dropout=0.0, fc_norm=True, projection=8, temperature=0.1
    )
    both = keras.Model(network.input, [network.get_layer("projection").output, network.output])
    features, logits = both(images, training=True)
    clusters = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    expected = 0.7 * clusters + 0.3 * instance_contrast(features, labels, 0.5)

    model = DeepCluster(network.input, network.output)
    layers = [layer.name for layer in model.layers]
    model.compile(
        CoupledSGD(0.05, 0.9),
        CoupledSGD(0.05, 0.0, name="head_sgd"),
        instance_weight=0.3,
        instance_temperature=0.5,
    )
    before = [np.array(variable) for variable in model.trainable_variables]
    loss = model.train_step((tf.constant(images), tf.constant(labels)))["loss"]
    # Two orders of float32 sums.
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)
    assert all(
        (was != np.array(now)).any()
        for was, now in zip(before, model.trainable_variables, strict=True)
        # What batch norm follows has a bias without effect.
        if not ("conv" in now.path and "bias" in now.path)
    )
    assert [layer.name for layer in model.layers] == layers


@pytest.mark.parametrize(("projection", "layer"), [(0, "fc7"), (8, "projection")])
def test_what_is_clustered(projection, layer):
    network = build_vgg16(SIZE, CLUSTERS, width=0.0625, projection=projection)
    assert clustered_layer(network) == layer
    assert feature_model(network, layer).output.shape == (None, 8 if projection else 256)
