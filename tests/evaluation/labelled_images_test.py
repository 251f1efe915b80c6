"""Which images networks are judged on, and how they are split."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import textures
from dc_keras.data.sources.inspection import write_unreadable
from dc_keras.data.sources.manifest import read_manifest, write_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation import labelled_images
from dc_keras.evaluation.labelled_images import SplitOptions, open_labelled_images
from dc_keras.runs.run_directory import RunDirectory


@pytest.fixture
def folder(tmp_path):
    """Ten images of each of four classes."""
    textures.write_folders(tmp_path / "images", *textures.textures(10))
    return tmp_path / "images"


@pytest.fixture
def options(folder):
    """A fifth of each class is tested on."""
    return SplitOptions(
        data_dir=str(folder),
        test_dir="",
        test_fraction=0.2,
        max_images=1000,
        max_bad_fraction=0.0,
        seed=31,
    )


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def test_a_part_of_each_class_is_tested_on(options, run):
    split = open_labelled_images(options, run, "")
    assert np.bincount(split.train.labels).tolist() == [8] * 4
    assert np.bincount(split.test.labels).tolist() == [2] * 4
    assert not set(split.train.names) & set(split.test.names)
    assert "random 20% of each class" in split.description


def test_the_seed_alone_splits(options, run):
    first, same, other = (
        open_labelled_images(dataclasses.replace(options, seed=seed), run, "").test.names
        for seed in (1, 1, 2)
    )
    assert first == same != other


def test_other_images_to_test_on(options, run, tmp_path):
    textures.write_folders(tmp_path / "other", *textures.textures(3, seed=5))
    options = dataclasses.replace(options, test_dir=str(tmp_path / "other"))
    split = open_labelled_images(options, run, "")
    assert (len(split.train), len(split.test)) == (40, 12)
    assert split.description == f"tested on {tmp_path / 'other'}"


def other_images(folder, options, names, each=3):
    """Options with other images to test on, in folders of these names."""
    textures.write_folders(folder, *textures.textures(each, seed=5), names)
    return dataclasses.replace(options, test_dir=str(folder))


def named(source):
    return [source.class_names[label] for label in source.labels]


def folders_of(source):
    return [name.partition("/")[0] for name in source.names]


def test_test_images_of_no_common_class_are_refused(options, run, tmp_path):
    options = other_images(tmp_path / "other", options, ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="differ. Received: a, b, c, d. .* fine, grain, ridge, w"):
        open_labelled_images(options, run, "")


def test_a_test_set_may_lack_a_class(options, run, tmp_path):
    """Classes go by their names: without "fine", the others would all move up by one."""
    options = other_images(tmp_path / "other", options, ["fine", "grain", "ridge", "weave"])
    shutil.rmtree(tmp_path / "other" / "fine")
    split = open_labelled_images(options, run, "")
    assert split.class_names == split.test.class_names == ("fine", "grain", "ridge", "weave")
    assert named(split.test) == folders_of(split.test)
    assert np.bincount(split.test_labels).tolist() == [0, 3, 3, 3]
    assert split.remarks == ("There are no test images of class fine.",)


def test_test_images_of_a_class_more_are_left_out_and_counted(options, run, tmp_path):
    options = other_images(tmp_path / "other", options, ["fine", "aaa", "ridge", "weave"])
    split = open_labelled_images(options, run, "")
    assert named(split.test) == folders_of(split.test)
    assert np.bincount(split.test_labels).tolist() == [3, 0, 3, 3]
    assert split.remarks == (
        "3 test images of classes without training images are left out: aaa.",
        "There are no test images of class grain.",
    )


@pytest.fixture
def trained(run, folder):
    """A run that was trained on the folder as it is."""
    run.path.mkdir()
    write_manifest(open_source(str(folder)), run.manifest)
    return run


def opened(run, folder, options, **changes):
    options = dataclasses.replace(options, data_dir="", **changes)
    return open_labelled_images(options, run, str(folder))


def change_nothing(folder):
    pass


def add_a_stray_picture(folder):
    shutil.copy(next((folder / "fine").iterdir()), folder / "preview.png")


def add_a_class(folder):
    shutil.copytree(folder / "fine", folder / "aaa")


def add_thumbnails(folder):
    shutil.copytree(folder / "fine", folder / "fine" / "@eaDir")


@pytest.mark.parametrize(
    ("change", "new"),
    [(change_nothing, 0), (add_a_stray_picture, 1), (add_a_class, 10), (add_thumbnails, 10)],
)
def test_a_run_is_judged_on_its_images_whatever_came_into_the_folder(
    options, trained, folder, change, new
):
    before = opened(trained, folder, options)
    change(folder)
    # Thumbnails of a NAS are passed over when the folder is opened, or left out here.
    there = len(open_source(str(folder))) - 40
    assert there in (0, new)
    split = opened(trained, folder, options)
    for one, other in ((split.train, before.train), (split.test, before.test)):
        assert one.names == other.names and one.class_names == other.class_names
        assert one.labels.tolist() == other.labels.tolist() and named(one) == folders_of(one)
    assert len(split.remarks) == (there > 0)
    if there:
        told = f"{there} new image.* in {folder} .* not part of this run .*--data_dir={folder}"
        assert re.fullmatch(told + ".", split.remarks[0])


def test_images_that_a_run_left_out_are_not_new(options, run, folder):
    run.path.mkdir()
    source = open_source(str(folder))
    write_manifest(source.select(np.arange(1, 40)), run.manifest)
    write_unreadable({source.names[0]: "damaged"}, run.unreadable)
    assert opened(run, folder, options).remarks == ()


def test_labels_of_a_file_take_the_place_of_those_of_the_run(options, trained, folder, tmp_path):
    add_a_class(folder)
    names = read_manifest(trained.manifest).names
    rows = "".join(f"{name},{'even' if int(name[-5]) % 2 == 0 else 'odd'}\n" for name in names)
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    split = opened(trained, folder, options, labels=str(tmp_path / "labels.csv"))
    assert split.class_names == ("even", "odd")
    assert len(split.train) + len(split.test) == 40
    assert named(split.test) == ["even" if int(n[-5]) % 2 == 0 else "odd" for n in split.test.names]


def test_labels_of_a_file_serve_test_images_without_classes(options, run, folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    images, labels = textures.textures(1, seed=5)
    for number, image in enumerate(images):
        Image.fromarray(image).save(flat / f"{number}.png")
    classes = [textures.CLASSES[label][0] for label in labels]
    of_train = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.rglob("*.png")]
    of_test = [f"{number}.png,{name}" for number, name in enumerate(classes)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *of_train, *of_test]))
    options = dataclasses.replace(options, test_dir=str(flat), labels=str(tmp_path / "all.csv"))
    assert named(open_labelled_images(options, run, "").test) == classes


def test_labels_of_folders_leave_out_images_of_the_run_beside_them(options, run, folder):
    add_a_stray_picture(folder)
    run.path.mkdir()
    write_manifest(open_source(str(folder)), run.manifest)
    with pytest.raises(InputError, match="no labels.*--labels=FILE.csv"):
        opened(run, folder, options)
    split = opened(run, folder, options, labels="folders")
    assert split.class_names == ("fine", "grain", "ridge", "weave")
    assert split.remarks == ("1 image of this run is left out, outside of the class folders.",)


def test_images_that_are_gone_are_named(options, trained, folder):
    gone = sorted((folder / "fine").iterdir())[0]
    gone.unlink()
    (remark,) = opened(trained, folder, options).remarks
    assert remark == f"1 image of this run is not there any more: fine/{gone.name}."
    shutil.rmtree(folder)
    textures.write_folders(folder, *textures.textures(1), ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="None of the run's images is there any more.*of which"):
        opened(trained, folder, options)


def test_a_run_on_images_without_labels_takes_those_of_the_images(options, run, folder, tmp_path):
    """It began when the labels were not there yet; names are the same."""
    images, labels = textures.textures(10)
    np.savez(tmp_path / "images.npz", images=images)
    run.path.mkdir()
    write_manifest(open_source(str(tmp_path / "images.npz")), run.manifest)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    split = opened(run, tmp_path / "images.npz", options)
    assert np.bincount(split.train_labels).tolist() == [8] * 4


def test_numbers_of_classes_keep_the_order_of_the_source(options, run, tmp_path):
    """That of the values, where text would have 10 before 9: draws depend on it."""
    images, labels = textures.textures(10)
    np.savez(tmp_path / "images.npz", images=images, labels=labels + 8)
    run.path.mkdir()
    write_manifest(open_source(str(tmp_path / "images.npz")), run.manifest)
    split = opened(run, tmp_path / "images.npz", options)
    assert split.class_names == ("8", "9", "10", "11")


def test_the_images_of_the_run_are_those_of_its_manifest(options, run, folder):
    run.path.mkdir()
    write_manifest(open_source(str(folder)).select(np.arange(0, 40, 2)), run.manifest)
    split = open_labelled_images(dataclasses.replace(options, data_dir=""), run, str(folder))
    assert len(split.train) + len(split.test) == 20


def test_imported_weights_have_no_images_of_their_own(options, run):
    with pytest.raises(InputError, match="no images of its own.*--data_dir"):
        open_labelled_images(dataclasses.replace(options, data_dir=""), run, "")


def test_at_most_so_many_images_drawn_at_random(options, run):
    options = dataclasses.replace(options, max_images=30)
    split = open_labelled_images(options, run, "")
    names = [*split.train.names, *split.test.names]
    assert len(names) == len(set(names)) == 30
    other = open_labelled_images(dataclasses.replace(options, seed=1), run, "")
    assert {*other.train.names, *other.test.names} != set(names)


def test_images_that_cannot_be_read_are_left_out(options, run, folder):
    (folder / "fine" / "broken.png").write_text("no picture")
    split = open_labelled_images(dataclasses.replace(options, max_bad_fraction=0.5), run, "")
    assert len(split.train) + len(split.test) == 40


@pytest.mark.parametrize("which", ["data_dir", "test_dir"])
def test_images_without_labels_are_refused(options, run, tmp_path, which):
    np.savez(tmp_path / "images.npz", images=textures.textures(4)[0])
    options = dataclasses.replace(options, **{which: f"{tmp_path}/images.npz"})
    with pytest.raises(InputError, match="no labels to compare with. Received: .*images.npz"):
        open_labelled_images(options, run, "")


def test_a_class_of_a_single_image_is_named_and_stays_in_training(options, run, folder):
    for path in sorted((folder / "fine").iterdir())[1:]:
        path.unlink()
    split = open_labelled_images(options, run, "")
    assert np.bincount(split.train_labels).tolist() == [1, 8, 8, 8]
    assert np.bincount(split.test_labels).tolist() == [0, 2, 2, 2]
    assert split.remarks == ("The only image of class fine stays in training.",)


def test_few_images_are_drawn_from_every_class(options, run, folder):
    for path in sorted((folder / "fine").iterdir())[3:]:
        path.unlink()
    split = open_labelled_images(dataclasses.replace(options, max_images=12), run, "")
    sizes = np.bincount(split.train_labels) + np.bincount(split.test_labels)
    # Of 33 images, classes of 10 are worth 3.6 of 12 and that of 3 is worth 1.1: it keeps two.
    assert sizes.tolist() == [2, 4, 3, 3]
    assert split.remarks == ()


def test_a_single_class_is_refused_before_images_are_read(options, run, folder, monkeypatch):
    monkeypatch.setattr(labelled_images, "leave_out_unreadable", None)
    outer = folder.rename(folder.parent / "classes").parent / "wrapped"
    outer.mkdir()
    (folder.parent / "classes").rename(outer / "dataset")
    options = dataclasses.replace(options, data_dir=str(outer))
    with pytest.raises(
        InputError, match="one class alone.* 40 images .*wrapped, all of class data"
    ):
        open_labelled_images(options, run, "")


def test_single_training_images_are_refused_before_anything_is_measured(options, run, folder):
    for name in ("fine", "grain", "ridge", "weave"):
        for path in sorted((folder / name).iterdir())[2:]:
            path.unlink()
    with pytest.raises(InputError, match="one training image of each of 4 classes"):
        open_labelled_images(options, run, "")


def test_no_more_than_ten_classes_are_named(options, run, tmp_path):
    names = [f"class {i:02}" for i in range(14)]
    images = textures.textures(14)[0]
    textures.write_folders(tmp_path / "train", images, np.arange(56) % 14, names)
    textures.write_folders(tmp_path / "test", images[:3], np.arange(3), names)
    options = dataclasses.replace(
        options, data_dir=str(tmp_path / "train"), test_dir=str(tmp_path / "test")
    )
    (remark,) = open_labelled_images(options, run, "").remarks
    assert remark.startswith("There are no test images of classes class 03, class 04, ")
    assert remark.endswith(", class 12 and 1 more.")
