"""When the callback clusters, and what it changes then."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.clustering.pseudo_labels import Clustering
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import TrainingConfig
from dc_keras.data.balanced import UniformClusterSampler, training_batches
from dc_keras.data.sources import ArraySource
from dc_keras.models.deepcluster import CoupledSGD, DeepCluster
from dc_keras.models.vgg import build_vgg16
from dc_keras.runtime import make_strategy
from dc_keras.training.recluster import (
    ClusteringOfImages,
    Recluster,
    clustering_figures,
    is_due,
    renumbered,
    view_figures,
)
from dc_keras.training.train import Schedule, build_trainer

N, CLUSTERS = 12, 3


def clustering_of(assignments):
    features = np.random.default_rng(0).normal(size=(N, 4)).astype("float32")
    clustering = Clustering(
        assignments=np.asarray(assignments, "int32"),
        centroids=np.zeros((CLUSTERS, 2), "float32"),
        sizes=np.bincount(assignments, minlength=CLUSTERS),
        objectives=np.array([3.0, 2.0]),
        empty_before=0,
        empty_after=int((np.bincount(assignments, minlength=CLUSTERS) == 0).sum()),
    )
    return ClusteringOfImages(clustering, fit_whitening(features, 2), {"features": 1.0})


@pytest.fixture(scope="module")
def model():
    arguments = "--image_size=32 --width=0.0625 --num_clusters=3".split()
    return build_trainer(TrainingConfig.from_arguments(arguments))


def make(model, cluster, reassign=1.0, labels=None, **options):
    made = []
    callback = Recluster(
        model,
        UniformClusterSampler(N),
        cluster,
        labels=labels,
        reassign=reassign,
        seed=31,
        on_clustered=lambda epoch, clustering: made.append(epoch),
        **options,
    )
    return callback, made


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


@pytest.mark.parametrize(
    ("reassign", "epochs", "steps"),
    [(1.0, 10, 100), (0.5, 20, 50), (3.0, 10, 100), (0.25, 40, 25), (1.5, 10, 100)],
)
def test_schedule_sees_the_same_images_whatever_the_turns(reassign, epochs, steps):
    arguments = [f"--reassign={reassign}", "--epochs=10", "--batch_size=10"]
    schedule = Schedule.of(TrainingConfig.from_arguments(arguments), 1000)
    assert (schedule.epochs, schedule.steps) == (epochs, steps)


@pytest.mark.parametrize(("reassign", "expected"), [(0.5, [0, 1, 2, 3]), (2.0, [0, 2])])
def test_it_clusters_on_time(model, reassign, expected):
    callback, made = make(model, lambda turn: clustering_of([0, 1, 2] * 4), reassign)
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        assert callback.clustered == bool(callback.report) == (epoch in expected)
    assert made == expected


def test_a_clustering_changes_head_and_labels_and_nothing_else(model):
    turns = []

    def cluster(turn):
        turns.append(turn)
        return clustering_of([turn % 3] * N)

    callback, _ = make(model, cluster)
    backbone = [v.numpy() for v in model.backbone_variables]
    heads = []
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        heads.append(model.head.kernel.numpy())
        drawn = callback._sampler.draw(np.int32(0))[1].numpy()
        assert (drawn == epoch).all()
    assert turns == [0, 1, 2]
    assert not np.array_equal(heads[0], heads[1]) and not np.array_equal(heads[1], heads[2])
    for old, new in zip(backbone, model.backbone_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_clusters_are_learned_after_the_epochs_of_instances(rng):
    arguments = "--image_size=32 --width=0.0625 --num_clusters=3 --instance_weight=0.5".split()
    model = build_trainer(TrainingConfig.from_arguments([*arguments, "--weight_decay=0"]))
    callback, _ = make(model, lambda turn: clustering_of([0, 1, 2] * 4), instance_epochs=2)
    batch = (
        tf.constant(rng.integers(0, 256, (4, 32, 32, 3), dtype="uint8")),
        tf.constant([0, 0, 1, 1]),
    )
    learned = []
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        head = model.head.kernel.numpy()
        model.train_step(batch)
        learned.append(not np.array_equal(head, model.head.kernel.numpy()))
    assert learned == [False, False, True, True]


def test_head_and_labels_stay_between_clusterings(model):
    callback, _ = make(model, lambda turn: clustering_of([turn % 3] * N), reassign=2.0)
    callback.on_epoch_begin(0)
    head = model.head.kernel.numpy()
    first = callback._sampler.epoch_seed.numpy()
    callback.on_epoch_begin(1)
    np.testing.assert_array_equal(head, model.head.kernel.numpy())
    assert (callback._sampler.draw(np.int32(0))[1].numpy() == 0).all()
    assert callback._sampler.epoch_seed.numpy() != first, "every epoch draws anew"


def test_a_matched_head_follows_its_clusters(model):
    """Clusters keep their numbers and rows; a new one gets another row."""
    turns = [[0] * 4 + [1] * 4 + [2] * 4, [2] * 4 + [0] * 4 + [1] * 4, [1] * 8 + [0] * 4]
    callback, _ = make(model, lambda turn: clustering_of(turns[turn]), head_start="matched")
    callback.on_epoch_begin(0)
    first = model.head.kernel.numpy()
    callback.on_epoch_begin(1)
    assert callback.latest.clustering.assignments.tolist() == turns[0]
    np.testing.assert_array_equal(first, model.head.kernel.numpy())
    callback.on_epoch_begin(2)
    # Two clusters became one, which keeps the number of one of them; the third has no image.
    assignments = callback.latest.clustering.assignments
    assert set(assignments[:8]) in ({0}, {1}) and set(assignments[8:]) == {2}
    kept, lost = assignments[0], 1 - assignments[0]
    np.testing.assert_array_equal(first[:, [kept, 2]], model.head.kernel.numpy()[:, [kept, 2]])
    assert (first[:, lost] != model.head.kernel.numpy()[:, lost]).any()
    assert callback.latest.clustering.sizes[lost] == 0


def test_renumbering_takes_everything_along(rng):
    made = clustering_of([0] * 3 + [1] * 4 + [2] * 5)
    made = dataclasses.replace(
        made,
        clustering=dataclasses.replace(
            made.clustering, centroids=rng.normal(size=(3, 2)).astype("float32")
        ),
    )
    numbers = np.array([2, 0, 1], "int32")
    new, old = renumbered(made, numbers).clustering, made.clustering
    for cluster in range(3):
        np.testing.assert_array_equal(new.centroids[numbers[cluster]], old.centroids[cluster])
        assert new.sizes[numbers[cluster]] == old.sizes[cluster]
        members = np.flatnonzero(old.assignments == cluster)
        np.testing.assert_array_equal(np.flatnonzero(new.assignments == numbers[cluster]), members)


def test_clusterings_that_nothing_calls_for_are_left_out(model):
    churns = {1: 0.04, 2: 0.06, 3: 0.05}
    callback, made = make(
        model,
        lambda turn: clustering_of([turn % 3] * N),
        churn=churns.__getitem__,
        reassign_churn=0.05,
    )
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        assert callback.clustered == (epoch in (0, 2))
        assert callback.report.get("estimated_churn") == churns.get(epoch)
    assert made == [0, 2]


def test_figures():
    made = clustering_of([0] * 6 + [1] * 3 + [2] * 3)
    figures = clustering_figures(
        made.clustering,
        made.whitening,
        previous=np.repeat([2, 0, 1], [6, 3, 3]),  # the same up to names
        labels=np.repeat([0, 1], 6),
    )
    assert (figures["smallest"], figures["median"], figures["largest"]) == (3, 3, 6)
    assert figures["largest_fraction"] == 0.5
    # Entropy of (1/2, 1/4, 1/4) is 1.5 ln 2; the labels have ln 2, which they share entirely:
    # NMI = ln 2 / sqrt(1.5 ln 2 * ln 2).
    assert figures["entropy"] == pytest.approx(1.5 * np.log(2))
    assert figures["nmi_previous"] == pytest.approx(1.0)
    assert figures["nmi_labels"] == pytest.approx(1 / 1.5**0.5)
    assert figures["objective"] == 2.0


def test_figures_without_labels_or_predecessor():
    made = clustering_of([0, 1, 2] * 4)
    figures = clustering_figures(made.clustering, made.whitening, previous=None, labels=None)
    assert "nmi_previous" not in figures and "nmi_labels" not in figures


def test_empty_clusters_are_told_once(model, caplog):
    from absl import logging

    logging.get_absl_logger().propagate = True
    callback, _ = make(model, lambda turn: clustering_of([0, 1] * 6))
    with caplog.at_level("WARNING"):
        for epoch in range(3):
            callback.on_epoch_begin(epoch)
    told = [record.message for record in caplog.records if "stay empty" in record.message]
    assert len(told) == 1 and told[0].startswith("1 of 3 clusters stay empty")


def test_merged_clusters_are_told_once(model, caplog):
    from absl import logging

    logging.get_absl_logger().propagate = True
    made = clustering_of([0, 1, 2] * 4)
    made = dataclasses.replace(made, clustering=dataclasses.replace(made.clustering, merged=4))
    callback, _ = make(model, lambda turn: made)
    with caplog.at_level("WARNING"):
        for epoch in range(3):
            callback.on_epoch_begin(epoch)
    told = [record.message for record in caplog.records if "merged" in record.message]
    assert len(told) == 1
    assert told[0].startswith("7 clusters were found, and the smallest 4 merged into others: the h")


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
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
        network = build_vgg16(32, clusters, width=0.0625)
        model = Spy(network.input, network.output)
        model.compile(CoupledSGD(), CoupledSGD())
    sampler = UniformClusterSampler(N)
    made = ClusteringOfImages(
        dataclasses.replace(clustering_of([0] * N).clustering, sizes=np.zeros(clusters, int)),
        clustering_of([0] * N).whitening,
        {},
    )

    def cluster(turn):
        assignments = np.full(N, turn % clusters, "int32")
        changed = dataclasses.replace(made.clustering, assignments=assignments)
        return dataclasses.replace(made, clustering=changed)

    recluster = Recluster(
        model, sampler, cluster, labels=None, reassign=1.0, seed=31, on_clustered=lambda *_: None
    )
    log = Log()
    batches = training_batches(source, sampler, num_batches=10, batch_size=8, image_size=32)
    model.fit(batches, epochs=6, shuffle=False, verbose=0, callbacks=[recluster, log])
    assert log.seen == [{float(epoch % clusters)} for epoch in range(6)]


def test_views_are_known_again_by_their_own_image_and_its_cluster():
    images = np.eye(4, dtype=np.float32)
    centroids = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.float32) / 2
    assignments = np.array([0, 0, 1, 1], np.int32)
    views = np.array([[0.9, 0.1, 0, 0], [1, 0, 0, 0], [0, 0.9, 0.1, 0], [0, 0, 0.4, 0.6]])
    assert view_figures(views.astype(np.float32), images, assignments, centroids) == {
        "views_retrieved": 2 / 4,
        "views_same_cluster": 3 / 4,
    }
