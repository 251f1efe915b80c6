import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from dc_keras.clustering.near_copies import find_near_copies, near_pairs, perceptual_hashes
from tests.textures import textures


def scenes(count, size=96, seed=0):
    """Images as smooth as photographs, each of its own noise at several scales."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        image = np.zeros((size, size, 3))
        for cells in (3, 6, 12, 24):
            noise = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
            larger = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
            image += np.asarray(larger) / cells
        image = 255 * (image - image.min()) / np.ptp(image)
        made.append(Image.fromarray(image.astype(np.uint8)))
    return made


def thumbnails(images):
    return np.stack(
        [np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) for image in images]
    )


def encoded_anew(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


CHANGES = {
    "encoded anew": lambda image: encoded_anew(image, 40),
    "half the size": lambda image: image.resize((48, 48), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((200, 200), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cut": lambda image: image.crop((3, 3, 93, 93)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_found_among_others(change):
    images = scenes(40)
    changed = [CHANGES[change](image) for image in images[10:30]]
    found = find_near_copies(thumbnails(changed), thumbnails(images))
    # One in twenty may be missed.
    assert (found == np.arange(10, 30)).sum() >= 19
    assert set(found) <= {*range(10, 30), -1}


def test_and_the_other_way_round():
    images = scenes(20)
    cut = thumbnails([CHANGES["cut"](image) for image in images])
    np.testing.assert_array_equal(find_near_copies(thumbnails(images), cut), np.arange(20))


def test_other_images_are_none():
    images, _ = textures(200)
    assert (find_near_copies(images[:400], images[400:]) == -1).all()
    many = thumbnails(scenes(200, seed=1))
    assert (find_near_copies(many[:100], many[100:]) == -1).all()


def test_nor_are_digits_of_one_class():
    pixels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    digits = np.repeat(np.repeat(pixels, 4, axis=1), 4, axis=2)
    found = find_near_copies(digits[1400:], digits[:1400])
    # Of 64 pixels each, a few look the same to the eye.
    assert (found >= 0).mean() < 0.03


def test_images_of_one_colour_have_fingerprint_0_and_no_copies():
    blank = np.full((3, 32, 32), [[[0]], [[77]], [[255]]], np.uint8)
    assert perceptual_hashes(blank).tolist() == [0, 0, 0]
    assert find_near_copies(blank, blank).tolist() == [-1, -1, -1]


def test_grey_images_are_as_colour_ones_of_equal_channels():
    grey = thumbnails(scenes(5))[..., 0]
    colour = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    np.testing.assert_array_equal(perceptual_hashes(grey), perceptual_hashes(colour))


def test_pairs_are_those_of_a_naive_search():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**10, 60).astype(np.uint64)
    hashes[40:50] = hashes[:10]
    near = {
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if int(hashes[i] ^ hashes[j]).bit_count() <= 2
    }
    found = near_pairs(hashes, 2)
    assert {tuple(pair) for pair in found.tolist()} <= near
    assert len(found) == len({tuple(pair) for pair in found.tolist()})
    assert _groups(60, found.tolist()) == _groups(60, near)


def test_many_equal_images_make_few_pairs():
    pairs = near_pairs(np.zeros(10_000, np.uint64), 3)
    assert len(pairs) == 9_999
    assert (pairs[:, 0] == 0).all()


def test_no_images_make_no_pairs():
    assert near_pairs(np.zeros(0, np.uint64), 3).shape == (0, 2)


def _groups(count, pairs):
    group = list(range(count))
    for first, second in pairs:
        old, new = group[second], group[first]
        group = [new if number == old else number for number in group]
    return {frozenset(i for i in range(count) if group[i] == number) for number in set(group)}
