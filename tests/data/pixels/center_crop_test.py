"""The centre crop of pixels and of files, eagerly, inside tf.data and in an exported model."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.center_crop import (
    center_crop,
    center_crop_batch,
    preprocess_for_clustering,
)
from encoded_images import (
    FILES,
    REDUCED_SIZES,
    assert_close_to_unreduced,
    both_ways,
    both_ways_each,
    encode,
    exif_turned,
    noise,
    pillow,
    smooth_jpeg,
)


def torchvision_center_crop(image, image_size, fit="crop_large"):
    """Resize(256) and CenterCrop(224) as torchvision does them with Pillow, at any size."""
    height, width = image.shape[:2]
    is_cut = fit == "crop" or min(height, width) > image_size
    target = round(image_size * 256 / 224) if is_cut else image_size
    if width <= height:
        size = (target, int(target * height / width))
    else:
        size = (int(target * width / height), target)
    resized = Image.fromarray(image).resize(size, Image.BILINEAR)
    left = round((size[0] - image_size) / 2.0)
    top = round((size[1] - image_size) / 2.0)
    return np.asarray(resized.crop((left, top, left + image_size, top + image_size)))


SIZES = [(375, 500), (500, 333), (257, 256), (224, 224), (225, 300), (90, 60), (32, 32), (31, 77)]


@pytest.mark.parametrize("fit", ["crop", "crop_large"])
@pytest.mark.parametrize("image_size", [224, 32, 33])
def test_center_crop_is_torchvisions(image_size, fit):
    images = [noise(*size) for size in SIZES]
    crops = both_ways_each(lambda x: center_crop(x, image_size, fit), images)
    for image, crop in zip(images, crops, strict=True):
        assert crop.shape == (image_size, image_size, 3)
        difference = crop.astype(int) - torchvision_center_crop(image, image_size, fit)
        # Pillow rounds to 8 bits between its horizontal and vertical pass, here only at the end;
        # with its fixed-point weights that makes 1. One pixel aside would make 10 and more.
        assert np.abs(difference).max() <= 1


def test_center_crop_of_an_image_of_the_right_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(center_crop(tf.constant(image), 32), image)


def test_center_crop_of_extreme_shapes():
    shapes = [(1, 1), (1, 4000), (3000, 2), (65500, 1)]
    images = [np.full((*shape, 3), 77, np.uint8) for shape in shapes]
    for crop in both_ways_each(lambda x: center_crop(x, 224), images):
        np.testing.assert_array_equal(crop, np.full((224, 224, 3), 77))


def test_center_crop_of_a_banner_is_its_middle():
    # 2 x 1001 pixels grow by 112: the crop shows two columns, the middle one of which is white.
    image = np.zeros((2, 1001, 3), np.uint8)
    image[:, 500] = 255
    crop = center_crop(tf.constant(image), 224).numpy()
    difference = crop.astype(int) - torchvision_center_crop(image, 224)
    # The factor is no whole number on the long side (cut to an integer); float32 positions near
    # 56,000 are exact to 0.004 pixels of the result, 0.01 of a grey level per column here.
    assert np.abs(difference).max() <= 1
    assert crop[100, 112, 0] > 240


def test_center_crop_batch_equals_one_by_one():
    images = np.stack([noise(60, 83, seed) for seed in range(3)])
    batch = both_ways(lambda x: center_crop_batch(x, 32), images)
    for image, crop in zip(images, batch, strict=True):
        np.testing.assert_array_equal(center_crop(tf.constant(image), 32), crop)


def test_preprocess_for_clustering_takes_bytes_and_pixels():
    encoded = FILES["jpeg"]
    from_bytes = both_ways(lambda x: preprocess_for_clustering(x, 32), encoded)
    pixels = pillow(encoded)
    from_pixels = both_ways(lambda x: preprocess_for_clustering(x, 32), pixels)
    np.testing.assert_array_equal(from_bytes, from_pixels)


def test_an_exported_model_decodes_and_crops(tmp_path):
    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def crops(self, encoded):
            return tf.map_fn(
                lambda x: preprocess_for_clustering(x, 16),
                encoded,
                fn_output_signature=tf.TensorSpec([16, 16, 3], tf.uint8),
            )

    tf.saved_model.save(Server(), str(tmp_path))
    crops = tf.saved_model.load(str(tmp_path)).crops(tf.constant(list(FILES.values()))).numpy()
    for encoded, crop in zip(FILES.values(), crops, strict=True):
        expected = preprocess_for_clustering(tf.constant(encoded), 16)
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(60, 83), (97, 64), (41, 200), (24, 24), (20, 30)])
def test_the_center_crop_of_a_jpeg_is_that_of_its_pixels(size, orientation, subsampling):
    exif = exif_turned(orientation)
    encoded = encode(Image.fromarray(noise(*size)), "JPEG", exif=exif, subsampling=subsampling)
    crop = preprocess_for_clustering(tf.constant(encoded), 24)
    # Colours at the border of what is decoded are not used.
    np.testing.assert_array_equal(crop, center_crop(pillow(encoded), 24))


@pytest.mark.parametrize("size", REDUCED_SIZES)
def test_the_center_crop_of_a_jpeg_that_is_reduced_while_decoding(size):
    encoded = smooth_jpeg(*size)
    crop = preprocess_for_clustering(tf.constant(encoded), 24)
    assert_close_to_unreduced(crop.numpy(), center_crop(pillow(encoded), 24).numpy())
