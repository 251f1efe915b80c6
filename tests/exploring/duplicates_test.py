import numpy as np
import pytest
from PIL import Image

from dc_keras.config import DuplicatesConfig
from dc_keras.exploring.duplicates import (
    NearOptions,
    find_duplicates,
    fingerprints,
    may_have_same_pixels,
    near_copies,
    nearest_by_fingerprint,
)


def scenes(count, seed=0):
    """Images as smooth as photographs, uint8 (count, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count, 7, 7, 3)).astype(np.uint8)
    return np.stack([larger(image) for image in noise])


def larger(pixels):
    return np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))


def near(thumbnails, descriptors=None, **options):
    """Pairs of near copies among all pairs of a few images."""
    n = len(thumbnails)
    if descriptors is None:
        descriptors = np.zeros((n, 2), np.float32)
    everyone = np.tile(np.arange(n, dtype=np.int32), (n, 1))
    np.fill_diagonal(everyone, -1)
    hashes = fingerprints(thumbnails)
    return near_copies(
        descriptors, (everyone,), hashes, thumbnails, NearOptions(**options)
    ).tolist()


CHANGES = {
    "brighter": lambda image: np.minimum(image * 1.1, 255).astype(np.uint8),
    "noisy": lambda image: np.clip(image + np.indices(image.shape).sum(0) % 7 - 3.0, 0, 255).astype(
        np.uint8
    ),
    "cut": lambda image: larger(image[3:61, 3:61]),
    "cut from a corner": lambda image: larger(image[3:, :61]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_near_and_others_are_not(change):
    images = scenes(6)
    changed = CHANGES[change](images[4])
    assert near(np.concatenate([images, changed[None]])) == [[4, 6]]


def test_the_network_must_agree():
    images = scenes(2)[[0, 0, 1]]
    apart = np.float32([[0, 0], [0, 0.9], [0, 0]])
    assert near(images) == [[0, 1]]
    assert near(images, apart) == []
    assert near(images, apart, distance=0.9) == [[0, 1]]


def test_images_of_one_colour_are_no_copies():
    assert near(np.full((3, 64, 64, 3), 200, np.uint8)) == []


def test_tiers_are_kept_apart_and_their_groups_are_one():
    bytes_ = [b"a", b"", b"a", b"", b"", b"b", b"b"]
    pixels = [b"1", b"1", b"", b"", b"", b"", b""]
    found = find_duplicates(bytes_, pixels, np.array([[1, 4], [0, 2]]))
    assert found.groups.tolist() == [0, 0, 0, -1, 0, 1, 1]
    assert found.kinds.tolist() == [1, 2, 1, 0, 3, 1, 1]
    # What has the same bytes is not told of again as near.
    told = list(zip(found.pairs.tolist(), found.pair_kinds.tolist(), strict=True))
    assert told == [([0, 2], 1), ([5, 6], 1), ([0, 1], 2), ([1, 4], 3)]


def test_no_copies_make_no_groups():
    found = find_duplicates([b""] * 3, [b""] * 3, np.zeros((0, 2), np.int64))
    assert (found.groups.tolist(), found.kinds.tolist()) == ([-1] * 3, [0] * 3)
    assert len(found.pairs) == 0


def test_only_images_of_one_size_and_look_are_read_again():
    images = scenes(3)[[0, 0, 0, 1, 2]]
    sizes = np.int32([[9, 9], [9, 9], [8, 9], [9, 9], [9, 9]])
    suspects = may_have_same_pixels(fingerprints(images)[:, 0], sizes)
    assert suspects.tolist() == [True, True, False, False, False]


def test_the_nearest_by_fingerprint_are_found_however_many_there_are():
    hashes = np.array([0b0, 0b1111, 0b1, 0b1110], np.uint64)
    found = nearest_by_fingerprint(hashes)
    assert [row[row >= 0][0] for row in found] == [2, 3, 0, 1]
    assert (nearest_by_fingerprint(hashes[:1]) < 0).all()


def test_thresholds_of_the_program_are_those_of_the_rest():
    config = DuplicatesConfig(run_dir="r", out="o")
    given = NearOptions(config.max_distance, config.max_bits, config.min_correlation)
    assert given == NearOptions()


def test_of_many_images_an_index_finds_near_fingerprints(rng):
    hashes = rng.integers(0, 2**63, 2000, dtype=np.uint64)
    hashes[1000:1100] = hashes[:100] ^ np.uint64(0b10010001)
    found = nearest_by_fingerprint(hashes, exact_up_to=1000)
    assert np.mean([place + 1000 in found[place] for place in range(100)]) > 0.95
