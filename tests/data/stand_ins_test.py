"""Images that vanish while they are in use."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.sources import ArraySource, open_source
from dc_keras.data.stand_ins import GONE, SourceWithStandIns
from dc_keras.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Six pictures of one grey level each."""
    for i in range(6):
        pixels = np.full((8, 8, 3), 40 * i, np.uint8)
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return tmp_path


def wrap(folder, names=None, limit=0.5):
    reports = []
    source = open_source(str(folder))
    return SourceWithStandIns(source, names or source.names, limit, reports.append), reports


def levels(source, order=range(6)):
    """Grey level of each image in units of 40, read inside a pipeline."""
    images = tf.data.Dataset.from_tensor_slices(list(order)).map(source.load)
    return [int(tf.io.decode_image(image)[0, 0, 0]) // 40 for image in images]


def test_it_gives_the_images_of_the_source_while_they_are_there(folder):
    source, reports = wrap(folder)
    assert levels(source) == levels(source.select(np.arange(6))) == [0, 1, 2, 3, 4, 5]
    assert source.names == open_source(str(folder)).names and len(source) == 6
    assert not source.replace_unreadable(np.array([2]), None)
    assert not source.gone and not reports


def test_an_image_of_the_same_cluster_stands_in(folder):
    source, reports = wrap(folder)
    clusters = np.array([0, 1, 0, 1, 0, 1])
    (folder / "4.png").unlink()
    with pytest.raises(tf.errors.NotFoundError):
        levels(source)
    assert source.replace_unreadable(np.array([3, 4]), clusters)
    assert levels(source) == [0, 1, 2, 3, 0, 5]
    # Its stand-in goes too, and then the last of the cluster's.
    (folder / "0.png").write_bytes(b"no image any more")
    assert source.replace_unreadable(np.array([4]), clusters)
    assert levels(source) == [2, 1, 2, 3, 2, 5]
    (folder / "2.png").write_bytes(b"")
    assert source.replace_unreadable(np.array([2]), clusters)
    assert levels(source) == [1, 1, 3, 3, 5, 5]
    assert [list(report) for report in reports] == [["4.png"], ["0.png"], ["2.png"]]
    assert source.gone[4] == reports[0]["4.png"] and "empty" in source.gone[2]


def test_an_image_that_was_not_suspected_is_found_too(folder):
    source, _ = wrap(folder)
    (folder / "5.png").unlink()
    assert source.replace_unreadable(np.array([1]), None)
    assert list(source.gone) == [5] and levels(source) == [0, 1, 2, 3, 4, 0]


def test_images_of_the_run_that_are_gone_when_it_goes_on(folder):
    names = open_source(str(folder)).names
    (folder / "0.png").unlink()
    (folder / "another.png").write_bytes((folder / "1.png").read_bytes())
    source, reports = wrap(folder, names)
    assert source.names == names and levels(source) == [1, 1, 2, 3, 4, 5]
    assert reports == [{"0.png": GONE}]


def test_labels_are_those_of_the_images_or_their_stand_ins():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    inner = ArraySource(images, list("abcdef"), np.arange(6, dtype=np.int32), tuple("ABCDEF"))
    source = SourceWithStandIns(inner, list("fxb"), 0.5, lambda reasons: None)
    np.testing.assert_array_equal(source.labels, [5, 1, 1])
    assert [int(source.load(tf.constant(i))[0, 0, 0]) for i in range(3)] == [5, 1, 1]
    assert source.class_names == tuple("ABCDEF")


def test_too_many_are_an_error_that_names_them(folder):
    source, _ = wrap(folder, limit=0.2)
    (folder / "1.png").unlink()
    assert source.replace_unreadable(np.array([1]), None)
    (folder / "2.png").unlink()
    with pytest.raises(InputError, match=r"2 of 6 \(33.3%\).*max_bad_fraction=0.2(?s:.*)2\.png"):
        source.replace_unreadable(np.array([2]), None)


def test_the_last_image_never_goes(folder):
    names = open_source(str(folder)).names
    for name in names:
        (folder / name).rename(folder / f"new-{name}")
    with pytest.raises(InputError, match="6 of 6"):
        wrap(folder, names, limit=0.999)
