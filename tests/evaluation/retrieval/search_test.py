import miniature_oxford
import numpy as np
import pytest
from PIL import Image

import textures
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval import search
from dc_keras.evaluation.retrieval.answers import index_by_name, resolve
from dc_keras.evaluation.retrieval.ground_truth import GroundTruth, NamedAnswers, NamedQuery
from dc_keras.evaluation.retrieval.search import SearchOptions, open_search, search_classes


@pytest.fixture
def folders(tmp_path):
    """Folders of searched and of other images, and the ground truth of the former."""
    miniature_oxford.write_images(tmp_path / "images")
    miniature_oxford.write_images(tmp_path / "others", range(50, 53))
    miniature_oxford.write_oxford(tmp_path / "gt")
    return tmp_path


def options(folders, **more):
    given = {"ground_truth": "gt", "whiten_dir": "others"} | more
    paths = {
        key: str(folders / value)
        for key, value in given.items()
        if value and isinstance(value, str)
    }
    return SearchOptions(str(folders / "images"), **{**given, **paths})


def named(image, *relevant, junk=(), box=None):
    return NamedQuery(image, box, {"map": NamedAnswers(relevant, junk)})


def test_names_become_numbers():
    truth = GroundTruth([named("b", "sub/c.png", "d", junk=("a", "d"))], ["c", "d", "a"], "test")
    (query,), searched, remarks = resolve(truth, ["a.jpg", "b.jpg", "sub/c.png", "sub/d.jpg"])
    assert query.image == 1 and searched.tolist() == [0, 2, 3]
    answers = query.answers["map"]
    assert (answers.relevant.tolist(), answers.junk.tolist()) == ([2], [0, 3])
    assert answers.missing == 0 and remarks == ()


def test_a_name_of_two_images_is_refused():
    find = index_by_name(["a/1.jpg", "b/1.jpg", "c/2.jpg"])
    assert (find("2"), find("b/1.jpg"), find("a/1"), find("3")) == (2, 1, 0, None)
    with pytest.raises(InputError, match="'a/1.jpg' or 'b/1.jpg'"):
        find("1.jpg")


def test_what_is_not_there_is_told():
    queries = [named("a", "b", "gone_1"), named("gone_2", "b"), named("b"), named("c", "c")]
    truth = GroundTruth(queries, ["a", "b", "c", "gone_3"], "test")
    found, searched, remarks = resolve(truth, ["a.jpg", "b.jpg", "c.jpg"])
    assert [query.image for query in found] == [0, 1, 2]
    assert found[0].answers["map"].missing == 1 and not found[1].answers
    told = " ".join(remarks)
    for words in (
        "1 of 4 images to be searched are not there: gone_3",
        "1 of 4 queries are left out, since their image is not there: gone_2",
        "1 relevant images, counted for each query by itself, are not there",
        "1 of 3 queries have nothing to be found",
    ):
        assert words in told


def test_a_ground_truth_of_other_images_is_refused():
    for query, words in (
        (named("x", "a"), "no query's image, such as 'x'"),
        (named("a", "x"), "no relevant"),
    ):
        with pytest.raises(InputError, match=words):
            resolve(GroundTruth([query], None, "1 query"), ["a.jpg", "b.jpg"])


def test_damaged_images_are_left_out_and_told(folders):
    path = folders / "images" / "thing_1_2.jpg"
    path.write_bytes(path.read_bytes()[:600])
    found = open_search(options(folders, max_bad_fraction=0.1), None)
    assert len(found.searched) == 19 and len(found.queries) == 5
    assert "Retrieval: 1 of 20 images left out, which are damaged." in found.remarks
    assert any("1 relevant images" in remark for remark in found.remarks)
    assert [one.answers["map"].missing for one in found.queries] == [0, 1, 0, 0, 0]


def test_a_region_outside_of_its_image_is_refused(folders):
    (folders / "gt" / "thing_2_1_query.txt").write_text("oxc1_thing_2_0 96 0 120 50")
    with pytest.raises(InputError, match="outside of its image.*thing_2_0.jpg.* 96 x 72 pixels"):
        open_search(options(folders), None)


def test_whitening_is_not_learned_on_what_is_searched(folders):
    with pytest.raises(InputError, match="20 images of .*/images, all of which are among"):
        open_search(options(folders, whiten_dir="images"), None)
    with pytest.raises(InputError, match="no images to learn whitening on"):
        open_search(options(folders, whiten_dir=""), None)
    # Copies under other names as well.
    for number in range(2):
        copy = (folders / "images" / f"thing_{number}_0.jpg").read_bytes()
        (folders / "others" / f"copy_{number}.jpg").write_bytes(copy)
    found = open_search(options(folders), None)
    assert not any("copy" in name for name in found.others.names)
    assert found.others_told == f"12 images of {folders}/others"
    assert "leaves out 2 of the images" in found.remarks[-1]


def test_whitening_is_learned_on_a_bounded_number_of_images(folders, monkeypatch):
    monkeypatch.setattr(search, "WHITENING_IMAGES", 7)
    training = open_source(str(folders / "others"))
    found = open_search(options(folders, whiten_dir=""), training)
    assert len(found.others) == 7
    assert found.others_told == "7 images of the training images of the run"


def test_classes_are_searched_for_their_others(tmp_path, folders):
    images, labels = textures.textures(3, size=16)
    textures.write_folders(tmp_path / "classes", images, labels)
    (tmp_path / "classes" / "single").mkdir()
    Image.fromarray(images[0][::-1]).save(tmp_path / "classes" / "single" / "one.png")
    source = open_source(str(tmp_path / "classes"))
    found = search_classes(source, options(folders, per_class=2), None)
    assert len(found.queries) == 8 and len(found.searched) == 13
    for query in found.queries:
        answers = query.answers["map"]
        assert answers.junk.tolist() == [query.image]
        np.testing.assert_array_equal(
            answers.relevant, np.flatnonzero(source.labels == source.labels[query.image])
        )
    assert "no query of single, classes of a single image" in found.remarks[0]


def test_images_without_classes_or_of_one_each_are_refused(folders):
    source = open_source(str(folders / "images"))
    with pytest.raises(InputError, match="Nobody says what shall be found"):
        search_classes(source, options(folders), None)
    source = FolderSource(
        "/nowhere", ["a/1.jpg", "b/1.jpg"], np.array([0, 1], np.int32), ("a", "b")
    )
    with pytest.raises(InputError, match="one image of each of 2 classes"):
        search_classes(source, options(folders), None)


def test_a_ground_truth_that_is_not_there_is_refused(folders):
    with pytest.raises(InputError, match="ground truth is not there.*nowhere.*Expected a folder"):
        open_search(options(folders, ground_truth="nowhere"), None)
