"""Random crops and flips: the law of the windows, the pixels of the crops, and their seeds."""

import math

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from dc_keras.data.pixels.augmentation import CROP_TRIES, Augmentation, augment, crop_window
from encoded_images import (
    FILES,
    REDUCED_SIZES,
    assert_close_to_unreduced,
    both_ways_each,
    encode,
    exif_turned,
    noise,
    pillow,
    smooth_jpeg,
)


def torchvision_window(rng, height, width, min_area):
    """RandomResizedCrop.get_params, step by step."""
    for _ in range(10):
        area = height * width * rng.uniform(min_area, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


def draw_crop_window(height, width, seed, min_area=0.08):
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 3], seed)
    return crop_window(height, width, uniforms, min_area)


@tf.function
def drawn_windows(height, width, min_area, seeds):
    return tf.map_fn(
        lambda seed: tf.stack(draw_crop_window(height, width, seed, min_area)),
        seeds,
        fn_output_signature=tf.TensorSpec([4], tf.int32),
    )


def seeds(count):
    return tf.stack([tf.fill([count], 11), tf.range(count)], 1)


@pytest.mark.parametrize(
    ("height", "width", "min_area"), [(375, 500, 0.08), (32, 32, 0.2), (20, 60, 0.5), (4, 5, 0.08)]
)
def test_the_window_follows_torchvisions_law(height, width, min_area):
    count = 4000
    rng = np.random.default_rng(0)
    expected = np.array([torchvision_window(rng, height, width, min_area) for _ in range(count)])
    drawn = drawn_windows(height, width, min_area, seeds(count)).numpy()
    quantiles = np.linspace(0.05, 0.95, 10)
    for column, side in zip(range(4), (height, width, height, width), strict=True):
        # The quantile of 4000 draws has a standard error of at most .5 / sqrt(4000) = .8 % in
        # rank; two samples and 40 comparisons: 5 % of the ranks, tested at their values.
        at = np.quantile(expected[:, column], quantiles)
        ranks = (drawn[:, column] <= at[:, None]).mean(1)
        exact = (expected[:, column] <= at[:, None]).mean(1)
        np.testing.assert_allclose(ranks, exact, atol=0.05, err_msg=f"{column} of {side}")
    area, exact_area = (np.prod(x[:, 2:], 1) / (height * width) for x in (drawn, expected))
    # Standard deviation of an area below .3, so the means differ by .3 * sqrt(2 / 4000) = .007.
    assert abs(area.mean() - exact_area.mean()) < 0.03


@pytest.mark.parametrize(
    ("height", "width"), [(1000, 10), (10, 1000), (3, 2000), (1, 1), (1, 2), (7, 1)]
)
def test_the_window_of_an_image_that_nothing_fits_is_torchvisions_central_one(height, width):
    class Never:
        """Areas of the whole image, which fit an image of another shape in no try."""

        def uniform(self, low, high):
            return high if high == 1 else 0.0

        def integers(self, low, high):
            return low

    window = drawn_windows(height, width, 0.999, seeds(1)).numpy()[0]
    assert tuple(window) == torchvision_window(Never(), height, width, 0.999)


@hypothesis.given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.floats(0.01, 1),
    st.integers(0, 2**31 - 1),
)
@hypothesis.settings(max_examples=200)
def test_the_window_lies_in_the_image(height, width, min_area, seed):
    drawn = draw_crop_window(
        tf.constant(height), tf.constant(width), tf.constant([seed, 3]), min_area
    )
    y, x, h, w = (int(value) for value in drawn)
    assert 0 <= y <= y + h <= height
    assert 0 <= x <= x + w <= width
    assert h > 0
    assert w > 0


SEEDS = [np.array([3, i], np.int32) for i in range(6)]


def augmented(encoded):
    """Crops without flip, one for each of SEEDS."""
    return both_ways_each(
        lambda seed: augment(
            tf.constant(encoded),
            tf.ensure_shape(seed, [2]),
            Augmentation(image_size=24, hflip=False),
        ),
        SEEDS,
    )


def expected_crop(pixels, seed, **options):
    """The drawn window, cut by NumPy and resized by Pillow."""
    y, x, h, w = draw_crop_window(*pixels.shape[:2], tf.constant(seed), **options)
    crop = Image.fromarray(pixels[y : y + h, x : x + w])
    return np.asarray(crop.resize((24, 24), Image.BILINEAR)).astype(int)


@pytest.mark.parametrize("size", [(20, 22), (60, 90)])
def test_augment_is_the_drawn_window_resized_as_pillow_does(size):
    pixels = noise(*size)
    for seed, crop in zip(SEEDS, augmented(pixels), strict=True):
        # 1 for the rounding between Pillow's passes, as above.
        assert np.abs(crop - expected_crop(pixels, seed)).max() <= 1


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_augment_of_a_jpeg_is_that_of_its_pixels(orientation):
    exif = exif_turned(orientation)
    encoded = encode(Image.fromarray(noise(60, 90)), "JPEG", exif=exif, subsampling=0)
    # Without chroma subsampling, decoding the crop alone gives the very pixels.
    np.testing.assert_array_equal(augmented(encoded), augmented(pillow(encoded)))


def test_augment_of_a_jpeg_with_subsampled_chroma_differs_at_the_border_only():
    encoded = encode(Image.fromarray(noise(60, 90)), "JPEG", quality=95)
    difference = np.array(augmented(encoded)).astype(int) - augmented(pillow(encoded))
    # The colour of a border pixel is interpolated from a neighbour that was not decoded.
    assert np.abs(difference)[:, 2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("size", REDUCED_SIZES)
def test_augment_of_a_jpeg_that_is_reduced_while_decoding(size):
    encoded = smooth_jpeg(*size)
    for seed, crop in zip(SEEDS, augmented(encoded), strict=True):
        assert_close_to_unreduced(crop, expected_crop(pillow(encoded), seed))


def test_flips_mirror_half_of_the_crops():
    pixels = noise(40, 40)
    flipped = 0
    pairs = tf.data.Dataset.range(100).map(
        lambda i: [
            augment(tf.constant(pixels), tf.stack([5, i]), Augmentation(image_size=8, hflip=hflip))
            for hflip in (True, False)
        ]
    )
    for image, plain in pairs.as_numpy_iterator():
        if (image == plain).all():
            continue
        np.testing.assert_array_equal(image, plain[:, ::-1])
        flipped += 1
    # Binomial with standard deviation 5: four of them.
    assert 30 <= flipped <= 70


def test_augment_depends_on_the_seed_alone():
    encoded = FILES["jpeg"]
    dataset = tf.data.Dataset.range(16).map(
        lambda i: augment(tf.constant(encoded), tf.stack([7, i]), Augmentation(image_size=16)),
        num_parallel_calls=4,
    )
    first, second = (np.stack(list(dataset.as_numpy_iterator())) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len({image.tobytes() for image in first}) == 16


def test_every_kind_can_be_augmented():
    crops = both_ways_each(
        lambda x: augment(x, [1, 2], Augmentation(image_size=24)), list(FILES.values())
    )
    assert {(crop.shape, crop.dtype) for crop in crops} == {((24, 24, 3), np.dtype(np.uint8))}


def test_augment_of_extreme_shapes():
    files = [
        encode(Image.new("RGB", size, (9, 9, 9)), kind)
        for size in [(1, 1), (2000, 3), (1, 500)]
        for kind in ("PNG", "JPEG")
    ]
    for crop in both_ways_each(lambda x: augment(x, [0, 0], Augmentation(image_size=24)), files):
        np.testing.assert_array_equal(crop, np.full((24, 24, 3), 9))
