"""The images of a run: what is left out, recorded, refused and found again."""

import csv
import dataclasses
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import textures
from data_sets import write_folder
from dc_keras.assembly import with_pixel_options
from dc_keras.config import EvaluationConfig
from dc_keras.data.pixels.limits import TOO_LARGE
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.errors import InputError
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.images import ImageOptions, check_number_of_clusters, open_images
from dc_keras.training.loop import image_options, train
from encoded_images import encode
from tiny import tiny


@pytest.fixture
def folder(tmp_path):
    """Sixteen images in class folders."""
    images, labels = textures.textures(4)
    textures.write_folders(tmp_path / "images", images, labels)
    return tmp_path / "images"


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def options(folder, max_bad_fraction=0.2):
    return ImageOptions(
        str(folder), max_bad_fraction=max_bad_fraction, cache="off", num_clusters=4, seed=1
    )


def some(folder):
    """Some image file of a folder."""
    return sorted(folder.rglob("*.png"))[3]


def start(run, folder):
    """Opens the images of a new run, so that the next call finds that it goes on."""
    source = open_images(options(folder), run)
    tiny(folder, run.path).save(run.flags)
    return source


def test_a_new_run_leaves_out_what_cannot_be_read_and_lists_it(run, folder, capsys):
    broken = some(folder)
    broken.write_bytes(b"no image")
    source = open_images(options(folder), run)
    name = str(broken.relative_to(folder))
    assert len(source) == 15 and name not in source.names
    assert name in run.unreadable.read_text() and name not in run.manifest.read_text()
    assert "Left out images that cannot be read: 1, listed in " in capsys.readouterr().out


def test_a_new_run_counts_and_lists_what_is_passed_over(run, folder, capsys):
    (folder / "notes.txt").write_text("no image")
    (folder / "unknown").write_bytes(b"no image")
    open_images(options(folder), run)
    listed = run.path / "passed_over.csv"
    told = capsys.readouterr().out
    assert f"Passed over: 2 text or other files (listed in {listed})" in told
    with open(listed, newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["notes.txt", "unknown"]


def ten_bits(folder, count=16):
    """Pictures of a camera of 10 bits."""
    images = np.random.default_rng(0).integers(290, 371, (count, 40, 40), np.uint16)
    files = {f"{i:02}.png": encode(Image.fromarray(image), "PNG") for i, image in enumerate(images)}
    return write_folder(str(folder), files)


def test_a_new_run_finds_the_range_of_sixteen_bits_and_one_that_goes_on_keeps_it(
    run, tmp_path, capsys
):
    folder = ten_bits(tmp_path / "camera")
    config = tiny(folder, run.path)
    source = open_images(image_options(config), run)
    told = "16-bit images: values 290 to 370 become black to white, see --value_range\n"
    assert capsys.readouterr().out.count(told) == 1
    with_pixel_options(config, source.options).save(run.flags)
    # Others would have another range.
    (tmp_path / "camera" / "00.png").write_bytes(
        encode(Image.fromarray(np.full((40, 40), 1000, np.uint16)), "PNG")
    )
    run.check(config)
    again = run.completed(config)
    assert again.value_range == "290,370"
    assert open_images(image_options(again), run).options == PixelOptions((290, 370))
    assert "16-bit" not in capsys.readouterr().out
    with pytest.raises(InputError, match="--value_range: '290,370' in the run, '0,1023' now"):
        run.check(dataclasses.replace(config, value_range="0,1023"))


@pytest.mark.parametrize(
    ("width", "fit", "is_told"), [(80, "crop", True), (80, "pad", False), (40, "crop", False)]
)
def test_a_new_run_tells_if_most_of_its_images_is_cut_off(
    run, tmp_path, capsys, width, fit, is_told
):
    np.savez(tmp_path / "i.npz", images=np.zeros((9, 40, width, 3), np.uint8))
    config = tiny(tmp_path / "i.npz", run.path, f"--fit={fit}")
    open_images(image_options(config), run)
    line = "The centre crop shows less than half of 9 of 9 images, of the middle one 37%. "
    assert (line in capsys.readouterr().out) == is_told


def test_images_above_the_limit_of_pixels_are_left_out(run, folder):
    some(folder).write_bytes(encode(Image.fromarray(np.zeros((40, 41, 3), np.uint8)), "PNG"))
    config = tiny(folder, run.path, "--max_pixels=1600", "--max_bad_fraction=0.2", "--cache=off")
    assert len(open_images(image_options(config), run)) == 15
    assert TOO_LARGE in run.unreadable.read_text()


def test_a_new_run_tells_its_classes(run, folder, capsys):
    open_images(options(folder), run)
    assert "Classes, for figures alone: 4: " in capsys.readouterr().out


def test_a_new_run_has_the_labels_that_are_asked_for(run, folder, tmp_path, capsys):
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.png")]
    (tmp_path / "l.csv").write_text("".join(f"{name},only\n" for name in names))
    labels = str(tmp_path / "l.csv")
    source = open_images(dataclasses.replace(options(folder), labels=labels), run)
    assert source.class_names == ("only",) and not source.labels.any()
    assert "Classes, for figures alone: 1: only (16)" in capsys.readouterr().out
    assert ",only" in run.manifest.read_text()


def test_a_new_run_has_no_list_of_nothing(run, folder):
    open_images(options(folder), run)
    assert not (run.path / "passed_over.csv").exists()


def test_a_run_that_goes_on_takes_the_images_of_its_manifest(run, folder):
    names = start(run, folder).names
    textures.write_folders(folder, *textures.textures(1, seed=9), ["new a", "b", "c", "d"])
    again = open_images(options(folder), run)
    assert again.names == names and not again.gone


def test_a_run_that_goes_on_tells_of_new_images_and_keeps_its_labels(run, folder, capsys):
    some(folder).write_bytes(b"no image")
    source = start(run, folder)
    assert "new image" not in capsys.readouterr().out
    open_images(options(folder), run)
    assert "new image" not in capsys.readouterr().out
    shutil.copyfile(folder / source.names[0], folder / "stray.png")
    again = open_images(options(folder), run)
    assert "1 new image is not part of this run" in capsys.readouterr().out
    assert again.labels.tolist() == source.labels.tolist()
    assert again.class_names == source.class_names


def test_a_run_of_an_archive_goes_on_with_it_or_its_folder(run, folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", folder)
    source = start(run, archive)
    for data_dir in (archive, folder):
        again = open_images(options(data_dir), run)
        assert again.names == source.names and not again.gone
        assert again.load(tf.constant(5)).numpy() == source.load(tf.constant(5)).numpy()


def test_a_run_that_goes_on_has_stand_ins_for_what_is_gone(run, folder, capsys):
    start(run, folder)
    lost = some(folder)
    lost.unlink()
    again = open_images(options(folder), run)
    name = str(lost.relative_to(folder))
    assert list(again.gone) == [again.names.index(name)]
    with open(run.unreadable, newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [name]
    assert "cannot be read any more: 1. " in capsys.readouterr().err


def test_a_run_does_not_go_on_when_too_many_are_gone(run, folder):
    start(run, folder)
    some(folder).unlink()
    with pytest.raises(InputError, match=r"1 of 16 (?s:.*)not found when"):
        open_images(options(folder, max_bad_fraction=0.01), run)


def test_unreadable_images_are_no_images_to_cluster(run, folder):
    some(folder).write_bytes(b"no image")
    with pytest.raises(InputError, match="--num_clusters=16 for 15 images"):
        open_images(dataclasses.replace(options(folder), num_clusters=16), run)
    assert not run.path.exists()


def test_as_many_clusters_as_images_are_allowed():
    check_number_of_clusters(64, 64)


@pytest.mark.parametrize(("images", "advice"), [(3, 2), (64, 2), (1000, 20)])
def test_a_number_of_clusters_that_suits_the_images_is_advised(images, advice):
    with pytest.raises(InputError, match=f"for {images} images.*try --num_clusters={advice}[.]$"):
        check_number_of_clusters(images + 1, images)


def test_final_clusters_are_not_more_than_images_either():
    with pytest.raises(
        InputError, match="--final_clusters=65 for 64 images.*--final_clusters=2[.]$"
    ):
        check_number_of_clusters(64, 64, final_clusters=65)


@pytest.mark.parametrize(
    "clusters", ["--num_clusters=17", "--num_clusters=10000", "--final_clusters=17"]
)
def test_more_clusters_than_images_are_refused_before_anything_is_written(run, folder, clusters):
    with pytest.raises(InputError, match="16 images.*try --(num|final)_clusters=2"):
        train(tiny(folder, run.path, clusters))
    assert not run.path.exists()


def test_a_missing_folder_is_refused_before_anything_is_written(run):
    with pytest.raises(InputError, match="no/such"):
        train(tiny("no/such", run.path))
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("flags", "cache"),
    [
        ([], "auto"),
        (["--deterministic"], "off"),
        (["--deterministic", "--cache=ram"], "ram"),
        (["--cache=disk"], "disk"),
    ],
)
def test_free_memory_does_not_decide_about_bits(flags, cache):
    assert image_options(tiny("images", "run", *flags)).cache == cache


@pytest.fixture(scope="module")
def robbed(tmp_path_factory):
    """A run of four epochs that lost five of 64 images behind the first: settings and names."""
    folder = tmp_path_factory.mktemp("robbed")
    images, labels = textures.textures(16)
    textures.write_folders(folder / "images", images, labels)
    flags = ["--max_bad_fraction=0.1", "--cache=off", "--epochs=4"]
    config = tiny(folder / "images", folder / "run", *flags)
    lost = sorted((folder / "images").rglob("*.png"))[::13]
    run = RunDirectory(config.run_dir)

    def lose():
        while not run.metrics.exists():
            time.sleep(0.01)
        lost[0].write_bytes(b"no image any more")
        for path in lost[1:]:
            path.unlink()

    thread = threading.Thread(target=lose)
    thread.start()
    train(config)
    thread.join()
    return config, {str(path.relative_to(folder / "images")) for path in lost}


@pytest.mark.slow
def test_images_that_vanish_during_a_run_are_listed(robbed):
    config, names = robbed
    assert len(names) == 5
    with open(RunDirectory(config.run_dir).unreadable, newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == names


@pytest.mark.slow
def test_images_that_vanish_during_a_run_are_counted_and_the_run_goes_on(robbed):
    config, names = robbed
    records = RunDirectory(config.run_dir).read_metrics()
    assert len(records) == 4 and records[-1]["images_gone"] == len(names)
    assert "images_gone" not in records[0]


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_lost_images_goes_on_later_and_is_evaluated(robbed, capsys):
    config, names = robbed
    run = train(dataclasses.replace(config, epochs=5))
    assert "cannot be read any more: " in capsys.readouterr().err
    assert len(run.read_metrics()) == 5
    report = evaluate(EvaluationConfig.from_arguments([f"--run_dir={run.path}", "--baseline="]))
    assert report.train_images + report.test_images == 64 - len(names)


def test_manifests_are_in_the_order_of_the_images(run, folder):
    source = open_images(options(folder), run)
    with open(run.manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(source.names)
    assert [int(row["index"]) for row in rows] == np.arange(16).tolist()
