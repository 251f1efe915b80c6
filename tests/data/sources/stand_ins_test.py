"""Images that vanish while they are in use, and work that goes on without them."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.stand_ins import GONE, READ_ERRORS, ReadingOn, SourceWithStandIns
from dc_keras.errors import InputError

CLUSTERS = np.array([0, 1, 0, 1, 0, 1], np.int32)
BUSY = tf.errors.UnavailableError(None, None, "try again")


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


def images(source, order):
    return tf.data.Dataset.from_tensor_slices(list(order)).map(source.load)


def level(image):
    """Grey level of a picture in units of 40."""
    return int(tf.io.decode_image(image)[0, 0, 0]) // 40


def levels(source, order=range(6)):
    """Those of images that are read inside a pipeline."""
    return [level(image) for image in images(source, order)]


def test_it_gives_the_images_of_the_source_while_they_are_there(folder):
    source, reports = wrap(folder)
    assert levels(source) == levels(source.select(np.arange(6))) == [0, 1, 2, 3, 4, 5]
    assert source.names == open_source(str(folder)).names and len(source) == 6
    assert not source.replace_unreadable(np.array([2]))
    assert not source.gone and not reports


def test_an_image_of_the_same_cluster_stands_in(folder):
    source, reports = wrap(folder)
    source.set_clusters(CLUSTERS)
    (folder / "4.png").unlink()
    with pytest.raises(tf.errors.NotFoundError):
        levels(source)
    assert source.replace_unreadable(np.array([3, 4]))
    assert levels(source) == [0, 1, 2, 3, 0, 5]
    assert [list(report) for report in reports] == [["4.png"]]
    assert source.gone == {4: reports[0]["4.png"]}


def test_a_stand_in_that_goes_is_replaced_wherever_it_stands(folder):
    source, reports = wrap(folder)
    source.set_clusters(CLUSTERS)
    (folder / "4.png").unlink()
    assert source.replace_unreadable(np.array([4]))
    (folder / "0.png").write_bytes(b"no image any more")
    assert source.replace_unreadable(np.array([4]))
    assert levels(source) == [2, 1, 2, 3, 2, 5]
    assert [list(report) for report in reports] == [["4.png"], ["0.png"]]


def test_where_a_whole_cluster_is_gone_others_stand_in(folder):
    source, _ = wrap(folder)
    source.set_clusters(CLUSTERS)
    (folder / "0.png").unlink()
    (folder / "2.png").write_bytes(b"")
    (folder / "4.png").unlink()
    assert source.replace_unreadable(np.arange(6))
    assert levels(source) == [1, 1, 3, 3, 5, 5]
    assert "empty" in source.gone[2]


def test_before_there_are_clusters_the_next_image_stands_in(folder):
    source, _ = wrap(folder)
    (folder / "3.png").unlink()
    assert source.replace_unreadable(np.array([3]))
    assert levels(source) == [0, 1, 2, 4, 4, 5]


def test_stand_ins_come_from_the_latest_clusters(folder):
    source, _ = wrap(folder)
    source.set_clusters(CLUSTERS)
    source.set_clusters(np.array([0, 0, 0, 1, 1, 1], np.int32))
    (folder / "5.png").unlink()
    assert source.replace_unreadable(np.array([5]))
    assert levels(source) == [0, 1, 2, 3, 4, 3]


def test_new_clusters_alone_change_no_image(folder):
    """Until another image is lost, which gives all that are gone a new stand-in."""
    source, _ = wrap(folder)
    source.set_clusters(CLUSTERS)
    (folder / "4.png").unlink()
    assert source.replace_unreadable(np.array([4]))
    source.set_clusters(np.array([1, 0, 0, 0, 1, 1], np.int32))
    assert levels(source) == [0, 1, 2, 3, 0, 5]
    (folder / "2.png").unlink()
    assert source.replace_unreadable(np.array([2]))
    assert levels(source) == [0, 1, 3, 3, 5, 5]


def test_images_that_are_suspected_are_looked_at_first(folder):
    source, _ = wrap(folder)
    for name in ("1.png", "3.png"):
        (folder / name).unlink()
    assert source.replace_unreadable(np.array([3, 4, 5]))
    assert list(source.gone) == [3]


def test_an_image_that_was_not_suspected_is_found_too(folder):
    source, _ = wrap(folder)
    (folder / "5.png").unlink()
    assert source.replace_unreadable(np.array([1]))
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
    assert source.replace_unreadable(np.array([1]))
    (folder / "2.png").unlink()
    with pytest.raises(InputError, match=r"2 of 6 \(33.3%\).*max_bad_fraction=0.2(?s:.*)2\.png"):
        source.replace_unreadable(np.array([2]))


def test_the_last_image_never_goes(folder):
    names = open_source(str(folder)).names
    for name in names:
        (folder / name).rename(folder / f"new-{name}")
    with pytest.raises(InputError, match="6 of 6"):
        wrap(folder, names, limit=0.999)


def test_reading_goes_on_with_a_stand_in_from_where_it_had_come_to(folder):
    source, _ = wrap(folder)
    source.set_clusters(CLUSTERS)
    (folder / "2.png").unlink()
    read, begun = [], []

    def place():
        return len(read)

    def upcoming():
        return np.arange(place(), 6)

    reading = ReadingOn(source)
    while place() < 6:
        begun.append(place())
        with reading.past_errors(place, upcoming):
            for image in images(source, upcoming()):
                read.append(level(image))
    assert read == [0, 1, 4, 3, 4, 5]
    assert begun == [0, 2] and list(source.gone) == [2]


def test_a_busy_drive_makes_no_image_gone(folder):
    source, reports = wrap(folder)
    with ReadingOn(source).past_errors(lambda: 2, lambda: np.arange(2, 6)):
        raise BUSY
    assert not source.gone and not reports


class Replaces:
    """In place of a source: says whether something was replaced, and notes what it was asked."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []

    def replace_unreadable(self, indices):
        self.asked.append(indices.tolist())
        return self._answers.pop(0)


def six_steps(source, *failures):
    """Does six steps of work. Each failure is a place and what is raised there, once, in order.

    Returns the places where the work was begun.
    """
    failures, done, begun = list(failures), 0, []

    def place():
        return done

    def upcoming():
        return np.arange(done, 6)

    reading = ReadingOn(source)
    while done < 6:
        begun.append(done)
        with reading.past_errors(place, upcoming):
            while done < 6:
                if failures and failures[0][0] == done:
                    raise failures.pop(0)[1]
                done += 1
    return begun


@pytest.mark.parametrize("error", READ_ERRORS)
def test_work_goes_on_when_an_image_was_replaced(error):
    source = Replaces(True)
    assert six_steps(source, (2, error(None, None, ""))) == [0, 2]
    assert source.asked == [[2, 3, 4, 5]]


def test_work_goes_on_at_the_same_place_while_images_are_replaced():
    source = Replaces(True, True, True)
    assert six_steps(source, (2, BUSY), (2, BUSY), (2, BUSY)) == [0, 2, 2, 2]


def test_work_goes_on_when_a_busy_drive_recovers():
    assert six_steps(Replaces(False), (2, BUSY)) == [0, 2]


def test_a_drive_may_be_busy_again_further_on():
    assert six_steps(Replaces(False, False), (1, BUSY), (4, BUSY)) == [0, 1, 4]


@pytest.mark.parametrize("first", [False, True])
def test_work_that_fails_at_the_same_place_again_with_nothing_to_replace_ends(first):
    source = Replaces(False, first, False)
    with pytest.raises(tf.errors.UnavailableError, match="try again"):
        six_steps(source, (1, BUSY), (2, BUSY), (2, BUSY), (2, BUSY))
    assert source.asked == [[1, 2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5]]


@pytest.mark.parametrize("error", [ValueError(), tf.errors.ResourceExhaustedError(None, None, "")])
def test_other_errors_end_the_work_at_once(error):
    source = Replaces()
    with pytest.raises(type(error)):
        six_steps(source, (3, error))
    assert source.asked == []


def test_work_ends_when_too_many_images_are_gone(folder):
    source, _ = wrap(folder, limit=0.2)
    for name in ("2.png", "3.png"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="2 of 6"):
        six_steps(source, (2, BUSY))
