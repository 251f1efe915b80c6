"""From the folder of a run to what is known of its images: once, and again where they change."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

import textures
from dc_keras.data.pixels.center_crop import crop_and_thumbnail, preprocess_for_clustering
from dc_keras.errors import InputError
from dc_keras.exploring import exploration
from dc_keras.exploring.exploration import explore
from dc_keras.exploring.found_images import DUPLICATE_KINDS
from dc_keras.runs.run_directory import RunDirectory
from encoded_images import encode
from finished_run import finished_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images in class folders with three copies of one, and a finished run on them."""
    folder = tmp_path_factory.mktemp("explored")
    images, labels = textures.textures(3)
    textures.write_folders(folder / "images", images, labels)
    first = sorted((folder / "images").rglob("*.png"))[0]
    shutil.copyfile(first, first.with_name("copy.png"))
    with Image.open(first) as image:
        image.save(first.with_name("pixels.bmp"))
        ImageEnhance.Brightness(image).enhance(1.1).save(first.with_name("near.png"))
    descriptors = finished_run(folder / "run", folder / "images")
    return folder, first.relative_to(folder / "images").as_posix(), descriptors


@pytest.fixture
def copied(made, tmp_path):
    """The same in a folder of its own, to change; and the name of the image with copies."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    run = RunDirectory(tmp_path / "run")
    flags = run.flags.read_text().replace(str(made[0]), str(tmp_path))
    run.flags.write_text(flags)
    return tmp_path, made[1]


def looked(monkeypatch):
    """Counts how often images are looked at."""
    count = []
    look = exploration._look
    monkeypatch.setattr(
        exploration, "_look", lambda *args, **kinds: (count.append(1), look(*args, **kinds))
    )
    return count


def test_all_is_known_of_each_image(made):
    folder, first, descriptors = made
    explored = explore(str(folder / "run"))
    found = explored.found
    n = len(descriptors)
    np.testing.assert_allclose(explored.descriptors, descriptors, atol=1e-4)
    assert explored.thumbnails.shape == (n, 64, 64, 3)
    assert (explored.sizes == 32).all()
    assert found.root == str(folder / "images")
    assert found.nearest.shape == (n, 10) and found.positions.shape == (n, 2)
    assert [found.class_names[label] for label in found.labels] == [
        path.partition("/")[0] for path in found.paths
    ]
    np.testing.assert_allclose(
        found.distances,
        np.linalg.norm(descriptors - descriptors[:3][found.clusters], axis=1),
        atol=1e-4,
    )
    place = {path: index for index, path in enumerate(found.paths)}
    stem = first.rpartition("/")[0]
    kinds = {
        name: DUPLICATE_KINDS[found.duplicate_kinds[place[f"{stem}/{name}"]]]
        for name in (first.rpartition("/")[2], "copy.png", "pixels.bmp", "near.png")
    }
    assert list(kinds.values()) == ["same bytes", "same bytes", "same pixels", "near"]
    assert (found.duplicate_groups >= 0).sum() == 4 and found.duplicate_groups.max() == 0


def test_it_is_worked_out_once(made, copied, monkeypatch):
    once = explore(str(made[0] / "run"))
    count = looked(monkeypatch)
    # A run that was copied with its images takes it along.
    again = explore(str(copied[0] / "run"))
    assert not count
    np.testing.assert_array_equal(once.thumbnails, again.thumbnails)
    np.testing.assert_array_equal(once.found.duplicate_groups, again.found.duplicate_groups)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["image", "model", "damage"])
def test_and_again_where_something_has_changed(copied, monkeypatch, change):
    folder, first = copied
    explore(str(folder / "run"))
    count = looked(monkeypatch)
    if change == "image":
        os.utime(folder / "images" / first, (1, 1))
    elif change == "model":
        with open(folder / "run/model/SHA256SUMS", "a") as file:
            file.write("\n")
    else:
        (folder / "run/exploration/rows.npz").write_bytes(b"half")
    if change == "model":
        with pytest.raises(InputError, match="model is damaged"):
            explore(str(folder / "run"))
    else:
        explore(str(folder / "run"))
    assert len(count) == 1


@pytest.mark.slow
def test_images_that_are_gone_are_told_and_left_out(copied):
    folder, first = copied
    before = explore(str(folder / "run")).found
    (folder / "images" / first).unlink()
    broken = next(path for path in before.paths if path.endswith("00011.png"))
    (folder / "images" / broken).write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    told = []
    explored = explore(str(folder / "run"), say=told.append)
    kept = [path for path in before.paths if path not in (first, broken)]
    assert list(explored.found.paths) == kept
    assert explored.gone.keys() == {first, broken}
    assert len(told) == 1 and told[0].startswith("Left out 2 of the run's 15 images: ")
    rows = [before.paths.index(path) for path in kept]
    np.testing.assert_array_equal(explored.found.clusters, before.clusters[rows])
    np.testing.assert_allclose(explored.found.distances, before.distances[rows], atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("run/flags.cfg", "no run in this folder"),
        ("run/model", "no final clusters yet"),
        ("run/model/clusters.csv", "cannot be read|damaged"),
        ("images", "data folder is not there(?s:.*)dc-keras sort --undo"),
    ],
)
def test_what_is_missing_is_told(copied, missing, expected):
    path = copied[0] / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=expected):
        explore(str(copied[0] / "run"))


def test_imported_weights_have_no_clusters(copied):
    for path in (copied[0] / "run/model").iterdir():
        if path.name != "network.keras":
            path.unlink()
    with pytest.raises(InputError, match="weights were imported"):
        explore(str(copied[0] / "run"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_crop_is_that_of_clustering(kind, rng):
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((480, 360)))
    encoded = tf.constant(encode(Image.fromarray(image), kind))
    crop, thumbnail, size = crop_and_thumbnail(encoded, 32, 64)
    np.testing.assert_array_equal(crop, preprocess_for_clustering(encoded, 32))
    assert size.numpy().tolist() == [360, 480]
    expected = Image.fromarray(image[:, 60:420]).resize((64, 64), Image.Resampling.BILINEAR)
    # JPEG loses some, and is decoded at a part of its size.
    assert np.abs(thumbnail.numpy() - np.asarray(expected, np.float32)).mean() < 3
