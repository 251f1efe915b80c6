import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from voc_miniature import write_devkit

from dc_keras.errors import InputError
from dc_keras.evaluation.voc import voc_tuning
from dc_keras.evaluation.voc.random_squares import Squares, random_squares, square_window
from dc_keras.evaluation.voc.tunable import ALL, FC, make_tunable
from dc_keras.evaluation.voc.voc_images import open_voc
from dc_keras.evaluation.voc.voc_tuning import (
    TuningOptions,
    drawn_images,
    learning_rate,
    masked_loss,
    random_square_scores,
    tune,
)
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions

FEW = TuningOptions(iterations=6, batch_size=4, save_every=2)


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return open_voc(write_devkit(tmp_path_factory.mktemp("voc")))


@pytest.fixture(scope="module")
def network():
    """As tests/tiny.py has it, but AlexNet in colours: fewer layers."""
    options = NetworkOptions(
        arch="alexnet", image_size=64, width=1 / 32, use_sobel=False, scaled_fc_init=True
    )
    return build_network(options, num_clusters=6)


def fresh(network, parts=ALL, **options):
    return make_tunable(network, 3, parts, seed=31, **options)


@pytest.mark.slow
@pytest.mark.long
def test_a_few_dozen_steps_lower_the_loss_and_tell_the_classes(voc, network):
    before = network.get_weights()
    tunable = fresh(network)
    options = dataclasses.replace(FEW, iterations=60, batch_size=8, learning_rate=0.02)
    losses = tune(tunable, voc.train, options, seed=31)
    assert len(losses) == 60
    # Dropout and the draws move a mean of ten by about 0.1 of 1.9; it fell to 1.55.
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    scores = random_square_scores(tunable, voc.test.images, crops=2, seed=31)
    shown, others = (scores[voc.test.labels == label].mean() for label in (1, -1))
    assert shown > others
    # The network itself stays what it was.
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.long
def test_what_is_resumed_equals_what_was_not(voc, network, tmp_path, monkeypatch):
    whole = fresh(network)
    expected = tune(whole, voc.train, FEW, seed=31)
    assert whole.top.layers[1].name == "dropout5"  # whose draws are part of it
    file = tmp_path / "states" / "all.npz"
    keep = voc_tuning._KeptState.keep

    def keep_and_stop(self, variables, losses):
        keep(self, variables, losses)
        if len(losses) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(voc_tuning._KeptState, "keep", keep_and_stop)
        tune(fresh(network), voc.train, FEW, seed=31, state_file=file)
    resumed = fresh(network)
    np.testing.assert_array_equal(tune(resumed, voc.train, FEW, seed=31, state_file=file), expected)
    for one, other in zip(whole.state(), resumed.state(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    # A call after the last takes what is there.
    again = fresh(network)
    tune(again, voc.train, FEW, seed=31, state_file=file)
    np.testing.assert_array_equal(again.top.get_weights()[0], whole.top.get_weights()[0])
    with pytest.raises(InputError, match="another fine-tuning.*Remove it"):
        tune(fresh(network), voc.train, FEW, seed=32, state_file=file)
    file.write_bytes(b"half of it")
    with pytest.raises(InputError, match="cannot be read.*Remove it"):
        tune(fresh(network), voc.train, FEW, seed=31, state_file=file)


@pytest.mark.parametrize(
    ("parts", "train_batch_norm", "changed"),
    [(ALL, False, {"conv", "bn"}), (FC, False, set()), (FC, True, {"bn"})],
)
def test_what_is_trained(voc, network, parts, train_batch_norm, changed):
    tunable = fresh(network, parts, train_batch_norm=train_batch_norm)
    before = {one.path: one.numpy() for one in [*tunable.body.weights, *tunable.top.weights]}
    one_step = dataclasses.replace(FEW, iterations=1)
    tune(tunable, voc.train, one_step, seed=31)
    moved = {
        one.path
        for one in [*tunable.body.weights, *tunable.top.weights]
        if not np.array_equal(one.numpy(), before[one.path])
    }
    of_body = {path for path in moved if path.startswith(("conv", "bn"))}
    assert {"conv" if path.startswith("conv") else "bn" for path in of_body} == changed
    assert not any("moving" in path for path in moved)
    assert {path.split("/")[0] for path in moved - of_body} == {"fc6", "fc7", "head"}


def test_fully_connected_layers_begin_as_published():
    options = NetworkOptions(arch="alexnet", image_size=64, width=1 / 8, use_sobel=True)
    tunable = make_tunable(build_network(options, num_clusters=6), 3, FC, seed=31)
    fc7 = tunable.top.get_layer("fc7")
    assert fc7.kernel.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert fc7.bias.numpy() == pytest.approx(0.1)
    head = tunable.top.get_layer("head")
    assert head.bias.numpy() == pytest.approx(0.1)
    # Uniform within 1 / sqrt(512).
    assert head.kernel.numpy().std() == pytest.approx(512**-0.5 / 3**0.5, rel=0.05)
    assert np.abs(head.kernel.numpy()).max() <= 512**-0.5


def test_a_network_of_other_layers_is_refused():
    images = tf.keras.Input((8, 8, 3))
    other = tf.keras.Model(images, tf.keras.layers.GlobalAveragePooling2D()(images))
    with pytest.raises(InputError, match="not known.*Use the SVMs"):
        fresh(other)


def test_the_loss_on_paper():
    """Logit 0 costs log 2; a difficult label nothing, whatever its logit."""
    logits = tf.constant([[0.0, 0, 50], [0, 3, 0]])
    labels = tf.constant([[1, -1, 0], [0, 1, -1]], tf.int8)
    expected = (3 * np.log(2) + np.log1p(np.exp(-3))) / 2
    assert float(masked_loss(logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_rates_are_halved_sixteen_times_however_many_steps():
    few = TuningOptions(iterations=32)
    assert [learning_rate(step, few) for step in (0, 1, 2, 31)] == [
        0.003, 0.003, 0.0015, 0.003 / 2**15,
    ]  # fmt: skip


def test_every_image_once_a_pass_wherever_batches_are_cut():
    whole = drawn_images(7, 0, 21, seed=31)
    for start in (0, 7, 14):
        assert sorted(whole[start : start + 7]) == list(range(7))
    np.testing.assert_array_equal(drawn_images(7, 5, 16, seed=31), whole[5:16])


@pytest.mark.parametrize(("height", "width"), [(100, 120), (40, 400)])
def test_windows_are_squares_within_the_image_and_the_areas(height, width):
    draws = np.random.default_rng(0).random((200, 13), np.float32)
    windows = np.array([square_window(height, width, one, (0.1, 0.5)) for one in draws])
    y, x, rows, columns = windows.T
    assert (rows == columns).all() and (y >= 0).all() and (x >= 0).all()
    assert (y + rows <= height).all() and (x + columns <= width).all()
    areas = rows * columns / (height * width)
    # Rounding the side moves an area by 1 / side.
    assert areas.min() >= 0.1 - 0.025 or rows.max() == min(height, width)
    assert areas.max() <= 0.5 + 0.02
    if width < 2 * height:
        assert areas.mean() == pytest.approx(0.3, abs=0.03)


def test_ten_squares_are_the_same_each_time_and_their_logits_are_added(voc, network):
    tunable = fresh(network)
    images = voc.test.images.select(np.arange(3))
    scores = random_square_scores(tunable, images, crops=10, seed=31)
    squares = Squares(64, voc_tuning.derive_seed(31, "VOC test squares"))
    batches = random_squares(images, np.repeat(np.arange(3), 10), squares, batch_size=10)
    logits = [tunable.logits(batch).numpy().sum(axis=0) for batch in batches]
    np.testing.assert_allclose(scores, logits, rtol=1e-4, atol=1e-5)
