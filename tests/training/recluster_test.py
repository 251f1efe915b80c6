"""When the callback clusters, what it changes then, and whom it tells."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.batches.uniform import UniformClusterSampler
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.machine import make_strategy
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from dc_keras.training.recluster import Recluster, is_due
from marks import LONG
from trainers import tiny_trainer
from turns import clustered_images, turn_of

N = 12
THREE = [0, 1, 2] * 4


class Clusterer:
    """In place of an `ImageClusterer`: finds what it is told to, and notes what it was asked."""

    def __init__(self, made):
        self.made = made
        self.asked = []

    def cluster(self, turn, previous):
        self.asked.append((turn, previous))
        return self.made(turn)


class Follower:
    """Notes the turns it is told of."""

    def __init__(self):
        self.turns = []

    def begin_turn(self, turn):
        self.turns.append(turn)


@pytest.fixture(scope="module")
def model():
    return tiny_trainer("--num_clusters=3")


def make(model, made, reassign=1.0, **options):
    """A callback with its sampler and its clusterer."""
    sampler, clusterer = UniformClusterSampler(N), Clusterer(made)
    callback = Recluster(model, sampler, clusterer, reassign=reassign, seed=31, **options)
    return callback, sampler, clusterer


def drawn_labels(sampler):
    return set(sampler.draw(np.int32(0))[1].numpy().tolist())


@pytest.mark.parametrize(
    ("reassign", "epochs"),
    [
        (1.0, [0, 1, 2, 3, 4, 5, 6]),
        (2.0, [0, 2, 4, 6]),
        (3.0, [0, 3, 6]),
        (1.5, [0, 2, 3, 5, 6]),  # first epochs on or after 0, 1.5, 3, 4.5, 6
    ],
)
def test_when_a_clustering_is_due(reassign, epochs):
    assert [epoch for epoch in range(7) if is_due(epoch, reassign)] == epochs


@pytest.mark.parametrize(("reassign", "expected"), [(0.5, [0, 1, 2, 3]), (2.0, [0, 2])])
def test_it_clusters_on_time(model, reassign, expected):
    made = []
    callback, _, clusterer = make(
        model, lambda turn: clustered_images(THREE), reassign, on_clustered=made.append
    )
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        assert callback.turn.epoch == epoch and not callback.turn.taken_up
        assert callback.turn.clustered == bool(callback.turn.figures) == (epoch in expected)
    assert [turn.epoch for turn in made] == [turn for turn, _ in clusterer.asked] == expected


def test_a_clustering_changes_head_and_labels(model):
    callback, sampler, _ = make(model, lambda turn: clustered_images([turn % 3] * N))
    heads = []
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        heads.append(model.head.kernel.numpy())
        assert drawn_labels(sampler) == {epoch}
    assert not np.array_equal(heads[0], heads[1]) and not np.array_equal(heads[1], heads[2])


def test_a_clustering_changes_nothing_but_head_and_labels(model):
    callback, _, _ = make(model, lambda turn: clustered_images([turn % 3] * N))
    backbone = [v.numpy() for v in model.backbone_variables]
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
    for old, new in zip(backbone, model.backbone_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_head_and_labels_stay_between_clusterings(model):
    callback, sampler, _ = make(model, lambda turn: clustered_images([turn % 3] * N), reassign=2.0)
    callback.on_epoch_begin(0)
    head = model.head.kernel.numpy()
    first = sampler.epoch_seed.numpy()
    callback.on_epoch_begin(1)
    np.testing.assert_array_equal(head, model.head.kernel.numpy())
    assert drawn_labels(sampler) == {0}
    assert sampler.epoch_seed.numpy() != first, "every epoch draws anew"


def test_a_head_can_start_from_the_centres_of_the_clusters(rng):
    model = tiny_trainer("--num_clusters=3", "--head=cosine")
    dim = model.head.kernel.shape[0]
    features = rng.normal(size=(N, dim)).astype("float32")

    class Whitening:
        def features_at(self, centroids):
            return features[: len(centroids)]

    made = dataclasses.replace(clustered_images(THREE), whitening=Whitening())
    callback, _, _ = make(model, lambda turn: made, head_start="centroids")
    callback.on_epoch_begin(0)
    np.testing.assert_array_equal(model.head.kernel.numpy(), features[:3].T)


def test_a_clustering_is_compared_with_the_numbers_that_were_shown_before(model):
    """Not with those that the network learns, which nobody has seen."""
    callback, sampler, clusterer = make(
        model, lambda turn: clustered_images(THREE, numbers=[1, 2, 0])
    )
    callback.on_epoch_begin(0)
    callback.on_epoch_begin(1)
    (_, none), (_, previous) = clusterer.asked
    assert none is None
    np.testing.assert_array_equal(previous, [1, 2, 0] * 4)
    indices, labels = sampler.draw(np.int32(0))
    np.testing.assert_array_equal(labels, indices % 3)


def test_followers_are_told_in_their_order(model):
    told = []

    class Named:
        def __init__(self, name):
            self.name = name

        def begin_turn(self, turn):
            told.append((self.name, turn.epoch))

    callback, _, _ = make(
        model,
        lambda turn: clustered_images(THREE),
        on_clustered=lambda turn: told.append(("files", turn.epoch)),
    )
    callback.tell(Named("first"), Named("second"))
    callback.on_epoch_begin(0)
    callback.on_epoch_begin(1)
    assert told == [(name, epoch) for epoch in (0, 1) for name in ("files", "first", "second")]


def test_followers_are_told_of_epochs_without_a_clustering(model):
    callback, _, _ = make(model, lambda turn: clustered_images(THREE), reassign=2.0)
    follower = Follower()
    callback.tell(follower)
    callback.on_epoch_begin(0)
    callback.on_epoch_begin(1)
    first, second = follower.turns
    assert (first.clustered, second.clustered) == (True, False)
    assert (first.epoch, second.epoch) == (0, 1)
    assert second.clusters is first.clusters and not second.figures


def test_an_epoch_that_was_under_way_is_taken_up_without_a_clustering(model):
    callback, sampler, clusterer = make(model, lambda turn: clustered_images(THREE))
    follower, head = Follower(), model.head.kernel.numpy()
    callback.tell(follower)
    callback.restore(turn_of([2] * N, epoch=4))
    assert drawn_labels(sampler) == {2}
    seed = sampler.epoch_seed.numpy()
    callback.on_epoch_begin(4)
    assert clusterer.asked == []
    assert follower.turns[0].taken_up and follower.turns[0].clustered
    np.testing.assert_array_equal(head, model.head.kernel.numpy())
    assert sampler.epoch_seed.numpy() == seed
    # The next one begins as ever.
    callback.on_epoch_begin(5)
    assert [turn for turn, _ in clusterer.asked] == [5]
    assert not follower.turns[1].taken_up


def test_behind_an_epoch_that_was_done_the_next_one_begins(model):
    callback, _, clusterer = make(model, lambda turn: clustered_images(THREE))
    callback.restore(turn_of(THREE, epoch=4, numbers=np.array([2, 0, 1], "int32")))
    callback.on_epoch_begin(5)
    ((turn, previous),) = clusterer.asked
    assert turn == 5 and not callback.turn.taken_up
    np.testing.assert_array_equal(previous, [2, 0, 1] * 4)


def test_empty_clusters_are_told_once(model, warnings_told):
    callback, _, _ = make(model, lambda turn: clustered_images([0, 1] * 6))
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
    (message,) = warnings_told("stay empty")
    assert message.startswith("1 of 3 clusters stay empty")


def test_merged_clusters_are_told_once(model, warnings_told):
    callback, _, _ = make(model, lambda turn: clustered_images(THREE, merged=4))
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
    (message,) = warnings_told("merged")
    assert message.startswith("7 clusters were found, and the smallest 4 merged into others: the h")


@pytest.mark.parametrize("strategy", ["one", pytest.param("mirrored", marks=LONG)])
def test_no_batch_of_an_epoch_carries_a_label_of_the_one_before(two_devices, strategy):
    """In a real fit, with prefetching and two replicas: the labels of every batch, by epoch."""
    clusters = 4

    class Spy(DeepCluster):
        def train_step(self, data):
            labels = tf.cast(data[1], tf.float32)
            return {"lowest": tf.reduce_min(labels), "highest": tf.reduce_max(labels)}

    class Log(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seen.append(set())

        def on_train_batch_end(self, batch, logs=None):
            self.seen[-1] |= {float(logs["lowest"]), float(logs["highest"])}

    source = ArraySource(np.zeros((N, 32, 32, 3), "uint8"), [str(i) for i in range(N)])
    with make_strategy(strategy, 2).scope():
        network = build_vgg16(NetworkOptions(image_size=32, width=0.0625), clusters)
        model = Spy(network.input, network.output)
        model.compile(CoupledSGD(), CoupledSGD())
    recluster, sampler, _ = make(
        model, lambda turn: clustered_images([turn % clusters] * N, clusters)
    )
    log = Log()
    batches = TrainingBatches(source, sampler, Augmentation(image_size=32), steps=10, batch_size=8)
    model.fit(batches.dataset(), epochs=6, shuffle=False, verbose=0, callbacks=[recluster, log])
    assert log.seen == [{float(epoch % clusters)} for epoch in range(6)]
