import shutil

import numpy as np
import pytest
from voc_miniature import SIZES, write_devkit

from dc_keras.errors import InputError
from dc_keras.evaluation.voc.voc_images import open_voc


@pytest.fixture
def root(tmp_path):
    """VOCdevkit/VOC2007."""
    return write_devkit(tmp_path)


def class_files(root, pattern="*_*.txt"):
    return sorted((root / "ImageSets/Main").glob(pattern))


def test_images_labels_and_classes_are_read(root):
    voc = open_voc(root)
    assert voc.class_names == ("ball", "leaf", "pond")
    assert voc.train.labels.shape == (16, 3) and voc.train.labels.dtype == np.int8
    assert voc.test.labels.shape == (12, 3)
    assert set(np.unique(voc.train.labels)) == {-1, 0, 1}
    # By the order of the list: image i shows class i mod 3.
    assert (voc.test.labels[np.arange(12), np.arange(12) % 3] == 1).all()
    assert voc.test.images.names[0] == "JPEGImages/000017.jpg"
    assert voc.test.images.load(0).dtype == "string"
    assert voc.remarks == () and voc.judged.all()


def test_any_folder_on_the_way_to_the_year_will_do(root):
    names = {open_voc(place).train.images.names for place in (root, root.parent, root.parents[1])}
    assert len(names) == 1


def test_another_year_is_found_where_it_is_the_only_one(root):
    root.rename(root.with_name("VOC2012"))
    assert "VOC2012" in open_voc(root.parent).description
    shutil.copytree(root.with_name("VOC2012"), root.with_name("VOC2010"))
    with pytest.raises(InputError, match="several years.*VOC2010, VOC2012.*one of them"):
        open_voc(root.parent)
    shutil.copytree(root.with_name("VOC2012"), root)
    assert "VOC2007" in open_voc(root.parent).description


def test_annotations_tell_what_files_of_classes_do(root):
    """Difficult where all objects of a class are."""
    before = open_voc(root)
    for file in class_files(root):
        file.unlink()
    both = root / "Annotations" / "000001.xml"
    one = "<object><name>ball</name><difficult>{}</difficult></object>"
    both.write_text(f"<annotation>{one.format(1)}{one.format(0)}</annotation>")
    after = open_voc(root)
    assert after.train.labels[0].tolist() == [1, -1, -1]
    np.testing.assert_array_equal(after.train.labels[1:], before.train.labels[1:])
    np.testing.assert_array_equal(after.test.labels, before.test.labels)
    assert after.class_names == before.class_names


def test_train_and_val_stand_in_for_a_list_of_both(root):
    before = open_voc(root)
    for file in class_files(root, "*trainval.txt"):
        file.unlink()
    np.testing.assert_array_equal(open_voc(root).train.labels, before.train.labels)


@pytest.mark.parametrize("has_list", [True, False])
def test_val_stands_in_for_test_images_without_labels(root, has_list):
    for file in class_files(root, "*_test.txt"):
        file.unlink()
    for number in range(17, 29):
        (root / "Annotations" / f"{number:06d}.xml").unlink()
    if not has_list:
        (root / "ImageSets/Main/test.txt").unlink()
    voc = open_voc(root)
    assert len(voc.train.images) == SIZES["train"] and len(voc.test.images) == SIZES["val"]
    (remark,) = voc.remarks
    assert ("no labels" if has_list else "no list") in remark and "test on val" in remark


def test_a_class_that_no_test_image_shows_is_left_out_of_the_means(root):
    file = root / "ImageSets/Main/leaf_test.txt"
    file.write_text(file.read_text().replace(" 1\n", "-1\n"))
    voc = open_voc(root)
    assert voc.judged.tolist() == [True, False, True]
    assert "Left out of the means" in voc.remarks[0] and voc.remarks[0].endswith("leaf.")


def append(name, text):
    def change(root):
        with open(root / name, "a") as file:
            file.write(text)

    return change


def remove(*patterns):
    def change(root):
        for pattern in patterns:
            for file in root.glob(pattern):
                file.unlink()

    return change


def without_positives(root):
    for file in class_files(root, "*_test.txt"):
        file.write_text(file.read_text().replace(" 1\n", "-1\n"))


MAIN = "ImageSets/Main"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: shutil.rmtree(root / "JPEGImages"), "no VOCdevkit.*VOCtest_06"),
        (remove(f"{MAIN}/*"), "no labelled test images.*Unpack"),
        (remove(f"{MAIN}/train*.txt"), "list of images cannot be read.*train.txt"),
        (remove("JPEGImages/00000[2-9].jpg"), "without 8 of 16: JPEGImages/000002.jpg.*Unpack"),
        (append(f"{MAIN}/test.txt", "000001\n"), "lacks images.*ball_test.txt.*000001"),
        (append(f"{MAIN}/test.txt", "../../secret\n"), "elsewhere.*secret"),
        (append(f"{MAIN}/test.txt", "000017\n"), "twice.*000017"),
        (append(f"{MAIN}/ball_test.txt", "000018 2\n"), "line 13 of.*'000018 2'.*difficult"),
        (remove(f"{MAIN}/leaf_test.txt"), "classes of training and test images differ.*leaf"),
        (without_positives, "no class to judge"),
        (
            lambda root: (
                remove(f"{MAIN}/*_*.txt")(root),
                append("Annotations/000003.xml", "<")(root),
            ),
            "annotation cannot be read.*000003.xml",
        ),
        (
            lambda root: (
                remove(f"{MAIN}/*_*.txt")(root),
                append(f"{MAIN}/test.txt", "000001\n")(root),
            ),
            "among those that are trained on.*1 in both trainval and test: 000001",
        ),
    ],
)
def test_what_cannot_be_used_is_told(root, change, words):
    change(root)
    with pytest.raises(InputError, match=words):
        open_voc(root)
