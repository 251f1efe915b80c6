"""What TensorBoard gets, and the pictures, pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import textures
from dc_keras.data.pixels.options import USUAL
from dc_keras.training.loop import train
from dc_keras.training.monitoring import cluster_mosaic, describe, gradients_as_pictures, tile
from tiny import tiny
from turns import clustered_images, turn_of


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitored")
    images, labels = textures.textures(8)
    np.savez(folder / "textures.npz", images=images, labels=labels)
    flags = ["--num_clusters=4", "--pca_dim=8", "--epochs=3"]
    run = train(tiny(folder / "textures.npz", folder / "run", *flags))
    accumulator = EventAccumulator(str(run.tensorboard), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator, run.read_metrics()


def test_every_scalar_is_there_for_every_epoch(events):
    accumulator, _ = events
    wanted = {
        "train/loss", "train/accuracy_on_pseudo_labels", "train/learning_rate",
        "train/images_per_second", "cluster/nmi_labels", "cluster/smallest", "cluster/largest",
        "cluster/entropy", "cluster/empty_before_repair", "cluster/objective",
        "cluster/explained_variance", "cluster/sizes", "seconds/features", "seconds/pca",
        "seconds/kmeans", "seconds/train",
    }  # fmt: skip
    tags = set(accumulator.Tags()["tensors"])
    assert wanted <= tags, wanted - tags
    for tag in wanted:
        assert [event.step for event in accumulator.Tensors(tag)] == [1, 2, 3], tag
    assert [event.step for event in accumulator.Tensors("cluster/nmi_previous")] == [2, 3]


def test_scalars_are_those_of_metrics_jsonl(events):
    accumulator, records = events
    for tag, value in [
        ("train/loss", lambda record: record["loss"]),
        ("cluster/nmi_labels", lambda record: record["cluster"]["nmi_labels"]),
    ]:
        logged = [float(tf.make_ndarray(e.tensor_proto)) for e in accumulator.Tensors(tag)]
        assert logged == pytest.approx([value(record) for record in records], rel=1e-6)


@pytest.mark.parametrize(
    "tag", ["augmented batch", "sobel", "clusters, the same ones through time"]
)
def test_pictures_are_there(events, tag):
    accumulator, _ = events
    width, height, png = tf.make_ndarray(accumulator.Tensors(tag)[0].tensor_proto)[:3]
    picture = tf.io.decode_png(png)
    assert picture.shape[:2] == (int(height), int(width)) and int(width) == 10 * (64 + 2)
    assert tf.math.reduce_std(tf.cast(picture, tf.float32)) > 10, "a blank picture"


CHANGE = {"nmi_previous": 0.1234, "views_retrieved": 0.56, "nmi_labels": 0.9876}


def test_a_clustering_in_one_line():
    made = clustered_images([0] * 6 + [1] * 3 + [2] * 3)
    rank = {"effective_rank": 4.44}
    turn = turn_of([0] * 6 + [1] * 3 + [2] * 3, epoch=6, figures=made.figures | CHANGE | rank)
    assert describe(turn) == (
        "Clustering 7: 3 clusters of 3 to 6 images (largest 50.0%); NMI with the last 0.123; "
        "56% of augmented views retrieved; features of effective rank 4.4; "
        "NMI with the labels 0.988; features 1.0 s"
    )


def test_what_is_not_known_of_a_clustering_is_left_out():
    text = describe(turn_of([0, 1, 2]))
    assert "NMI" not in text and "views" not in text and "empty" not in text


def test_empty_clusters_stand_in_the_line():
    figures = clustered_images([0, 0, 1]).figures | {"empty_before_repair": 2, "empty": 1}
    assert "; 2 were empty and 1 still are; " in describe(turn_of([0, 0, 1], figures=figures))


def test_tiles_lie_in_rows():
    images = np.stack([np.full((64, 64, 3), value, "uint8") for value in (10, 20, 30)])
    grid = tile(images, 2)
    assert grid.shape == (132, 132, 3)
    assert (grid[1:65, 1:65] == 10).all() and grid[2, 80, 0] == 20 and grid[80, 2, 0] == 30
    assert (grid[66:, 66:] == 255).all() and (grid[0] == 255).all()


@pytest.mark.parametrize(("size", "shown"), [(224, 56), (96, 48), (32, 64), (8, 64)])
def test_thumbnails_are_of_similar_size(size, shown):
    grid = tile(np.zeros((1, size, size, 3), "uint8"), 1)
    assert grid.shape == (shown + 2, shown + 2, 3)


def test_gradients_as_pictures():
    gradients = np.zeros((1, 10, 10, 2), "float32")
    gradients[0, :, :5] = [3, 4]
    picture = gradients_as_pictures(gradients)
    assert picture.shape == (1, 10, 10, 1)
    assert (picture[0, :, :5] == 255).all() and (picture[0, :, 5:] == 0).all()
    assert not gradients_as_pictures(np.zeros((1, 4, 4, 2), "float32")).any()


class Greys:
    """A source of constant pictures, as bright as their index."""

    options = USUAL

    def load(self, index):
        return tf.fill([8, 8, 3], tf.cast(index, tf.uint8))


def mosaic_rows(assignments):
    """The images that each row of a mosaic shows; 255 for a blank cell."""
    mosaic = cluster_mosaic(
        Greys(), np.asarray(assignments), image_size=8, rng=np.random.default_rng(0)
    )
    assert mosaic.shape[0] % 66 == 0 and mosaic.shape[1:] == (10 * 66, 3)
    return [mosaic[start + 33, 33::66, 0].tolist() for start in range(0, mosaic.shape[0], 66)]


def test_mosaic_rows_are_clusters_in_the_order_of_their_numbers():
    """Cluster 2 has no images, and no row."""
    rows = mosaic_rows(np.repeat([1, 3, 0], [20, 5, 3]))
    assert [set(row) for row in rows[::2]] == [{25, 26, 27, 255}, {20, 21, 22, 23, 24, 255}]
    assert len(set(rows[1])) == 10 and set(rows[1]) <= set(range(20))
    assert len(rows) == 3


def test_mosaics_show_a_cluster_in_the_same_row_when_it_grows():
    before = mosaic_rows(np.repeat(np.arange(40), 2))
    after = mosaic_rows(np.concatenate([np.repeat(np.arange(40), 2), [20] * 30]))
    assert len(before) == len(after) == 8

    def clusters(rows):
        return [{image // 2 for image in row if image < 80} for row in rows]

    # Each row shows members of one cluster; evenly chosen, from the first to the last.
    assert clusters(before) == [{0}, {5}, {11}, {16}, {22}, {27}, {33}, {39}]
    assert clusters(after) == clusters(before)
