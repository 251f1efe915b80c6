"""Tracks of near copies: how many, of which classes, and like what."""

import numpy as np
from PIL import Image

import textures
from benchmarks.learning.tracks import make_tracks
from dc_keras.clustering.near_copies import correlations


def test_copies_of_a_track_are_alike_and_differ(tmp_path):
    images, labels = textures.textures(6)
    textures.write_folders(tmp_path / "images", images, labels)
    classes = {path.name for path in (tmp_path / "images").iterdir()}
    count = make_tracks(tmp_path / "images", tmp_path / "tracks", originals=8, copies=3)
    paths = sorted((tmp_path / "tracks").rglob("*.jpg"))
    assert count == len(paths) == 24
    assert {path.parent.name for path in paths} == classes
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert pixels.shape == (24, *images.shape[1:])
    # No two are the same, and the same ones come again.
    assert len(np.unique(pixels.reshape(24, -1), axis=0)) == 24
    again = tmp_path / "again"
    make_tracks(tmp_path / "images", again, originals=8, copies=3)
    for path in paths:
        other = again / path.relative_to(tmp_path / "tracks")
        assert other.read_bytes() == path.read_bytes()


def test_a_copy_shows_what_its_image_shows(tmp_path):
    """Of smooth pictures, which a shift of 3 pixels hardly changes."""
    folder = tmp_path / "images" / "one"
    folder.mkdir(parents=True)
    y, x = np.mgrid[:64, :64] / 64
    for name, picture in (("a", y), ("b", x), ("c", 1 - y), ("d", 1 - x)):
        Image.fromarray((picture * 255).astype(np.uint8)).save(folder / f"{name}.png")
    make_tracks(tmp_path / "images", tmp_path / "tracks", originals=4, copies=2)
    paths = sorted((tmp_path / "tracks").rglob("*.jpg"))
    grey = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    assert correlations(grey[0::2], grey[1::2]).min() > 0.95
    assert correlations(grey[0::2], np.roll(grey[0::2], 1, axis=0)).max() < 0.5
