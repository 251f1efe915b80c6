"""Decoding, the centre crop and the random crop, each eagerly and inside tf.data."""

import io
import math

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dc_keras.data import preprocessing

ROWS, COLUMNS = np.mgrid[0:40, 0:50]
RGB = np.stack([COLUMNS * 5, ROWS * 6, (COLUMNS + ROWS) * 2], -1).astype(np.uint8)
IMAGE = Image.fromarray(RGB)
ALPHA = Image.fromarray(np.dstack([RGB, COLUMNS * 5]).astype(np.uint8))


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow(encoded):
    """How Pillow sees it: first frame, upright, RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    return np.asarray(image.convert("RGB"))


def both_ways_each(function, values):
    """`function` of each value, after checking that eager execution and tf.data agree."""
    eagerly = [function(tf.constant(value)).numpy() for value in values]
    spec = tf.TensorSpec([None] * np.ndim(values[0]), tf.constant(values[0]).dtype)
    # One pipeline for all values: making it takes longer than running it.
    dataset = tf.data.Dataset.from_generator(lambda: iter(values), output_signature=spec)
    for expected, received in zip(eagerly, dataset.map(function), strict=True):
        np.testing.assert_array_equal(received, expected)
    return eagerly


def both_ways(function, value):
    """`both_ways_each` of one value."""
    return both_ways_each(function, [value])[0]


def animation(image, **options):
    others = [image.rotate(90), image.rotate(45)]
    return {"save_all": True, "append_images": others, **options}


FILES = {
    "jpeg": encode(IMAGE, "JPEG", quality=90),
    "jpeg grey": encode(IMAGE.convert("L"), "JPEG"),
    "jpeg progressive": encode(IMAGE, "JPEG", progressive=True),
    "png": encode(IMAGE, "PNG"),
    "png grey": encode(IMAGE.convert("L"), "PNG"),
    "png grey alpha": encode(ALPHA.convert("LA"), "PNG"),
    "png alpha": encode(ALPHA, "PNG"),
    "png palette": encode(IMAGE.convert("P"), "PNG"),
    "png palette transparent": encode(IMAGE.convert("P"), "PNG", transparency=3),
    "png bits": encode(IMAGE.convert("1"), "PNG"),
    "bmp": encode(IMAGE, "BMP"),
    "bmp grey": encode(IMAGE.convert("L"), "BMP"),
    "bmp alpha": encode(ALPHA, "BMP"),
    "bmp palette": encode(IMAGE.convert("P"), "BMP"),
    "bmp short palette": encode(IMAGE.quantize(5), "BMP"),
    "bmp bits": encode(IMAGE.convert("1"), "BMP"),
    "bmp padded": encode(IMAGE, "BMP") + b"\0\0",
    "gif": encode(IMAGE, "GIF"),
    "gif animation": encode(IMAGE, "GIF", **animation(IMAGE)),
    "webp": encode(IMAGE, "WEBP"),
    "webp alpha": encode(ALPHA, "WEBP", lossless=True, exact=True),
    "webp animation": encode(ALPHA, "WEBP", **animation(ALPHA, lossless=True)),
    "webp animation without alpha": encode(IMAGE, "WEBP", **animation(IMAGE, quality=80)),
}


def test_decode_gives_the_pixels_that_pillow_gives():
    decoded = both_ways_each(preprocessing.decode, list(FILES.values()))
    for (name, encoded), image in zip(FILES.items(), decoded, strict=True):
        np.testing.assert_array_equal(image, pillow(encoded), err_msg=name)


def test_cmyk_is_not_inverted():
    encoded = encode(IMAGE.convert("CMYK"), "JPEG", quality=95)
    decoded = both_ways(preprocessing.decode, encoded).astype(int)
    # TensorFlow multiplies where Pillow subtracts: they differ by rounding.
    assert np.abs(decoded - pillow(encoded)).max() <= 2
    assert np.abs(decoded - RGB).mean() < 5


def test_sixteen_bits_keep_the_upper_eight():
    values = (COLUMNS * 1300 + ROWS).astype(np.uint16)
    decoded = both_ways(preprocessing.decode, encode(Image.fromarray(values), "PNG"))
    # libpng may round where others cut off.
    assert np.abs(decoded.astype(int) - (values // 256)[..., None]).max() <= 1


def test_a_bmp_from_top_to_bottom():
    encoded = bytearray(encode(IMAGE, "BMP"))
    encoded[22:26] = (-40).to_bytes(4, "little", signed=True)
    np.testing.assert_array_equal(both_ways(preprocessing.decode, bytes(encoded)), RGB[::-1])


def test_four_bit_bmp():
    # 3 x 2 pixels, palette of red, green and blue; rows from below, padded to 4 bytes.
    header = b"BM" + bytes(8) + (66).to_bytes(4, "little")
    info = b"".join(n.to_bytes(4, "little") for n in (40, 3, 2))
    info += (1).to_bytes(2, "little") + (4).to_bytes(2, "little") + bytes(16)
    info += (3).to_bytes(4, "little") + bytes(4)
    palette = bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    encoded = header + info + palette + bytes([0x01, 0x20, 0, 0, 0x21, 0x00, 0, 0])
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    expected = [[blue, green, red], [red, green, blue]]
    np.testing.assert_array_equal(both_ways(preprocessing.decode, encoded), expected)


@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_exif_orientation_is_applied(byte_order):
    files = [with_exif(tiff(orientation, byte_order)) for orientation in range(1, 9)]
    for encoded, decoded in zip(files, both_ways_each(preprocessing.decode, files), strict=True):
        np.testing.assert_array_equal(decoded, pillow(encoded))


def tiff(orientation, byte_order="II", offset=8):
    """A TIFF directory of three tags with the orientation in the middle."""
    order = {"II": "little", "MM": "big"}[byte_order]

    def number(value, size):
        return value.to_bytes(size, order)

    def entry(tag, value):
        return number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + bytes(2)

    head = byte_order.encode() + number(42, 2) + number(offset, 4) + bytes(offset - 8)
    entries = entry(0x0100, 50) + entry(0x0112, orientation) + entry(0x011A, 7)
    return head + number(3, 2) + entries + bytes(4)


def with_exif(data, before=b""):
    """The JPEG without its own opening segment, with an Exif segment after `before`."""
    jpeg = FILES["jpeg"]
    body = jpeg[4 + int.from_bytes(jpeg[4:6]) :]
    payload = b"Exif\0\0" + data
    return b"\xff\xd8" + before + b"\xff\xe1" + (len(payload) + 2).to_bytes(2) + payload + body


@pytest.mark.parametrize(
    "before",
    [
        b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
        b"\xff\xfe\x00\x08Exif\0\0",
        b"\xff\xe1\x00\x09http:/\0" + b"\xff\xe2\x20\x02" + bytes(0x2000),
    ],
    ids=["after JFIF", "after a comment that says Exif", "after XMP and a colour profile"],
)
def test_exif_is_found_behind_other_segments(before):
    encoded = with_exif(tiff(6, offset=20), before)
    decoded = both_ways(preprocessing.decode, encoded)
    np.testing.assert_array_equal(decoded, np.rot90(pillow(FILES["jpeg"]), -1))


def test_damaged_exif_means_upright():
    damaged = [
        b"",
        b"II",
        tiff(6)[:20],
        tiff(0),
        tiff(9),
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\xff\xff\xff\x7f",
        b"MM\0*\0\0\0\x08\xff\xff",
    ]
    upright = pillow(FILES["jpeg"])
    for decoded in both_ways_each(preprocessing.decode, [with_exif(data) for data in damaged]):
        np.testing.assert_array_equal(decoded, upright)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_damaged_files_are_invalid_and_never_anything_else(data):
    encoded = FILES[data.draw(st.sampled_from(sorted(FILES)))]
    if data.draw(st.booleans()):
        encoded = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    else:
        position = data.draw(st.integers(0, min(len(encoded), 80) - 1))
        encoded = encoded[:position] + b"\x80\xff" + encoded[position + 2 :]
    try:
        decoded = preprocessing.decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError:
        return
    assert decoded.shape[-1] == 3


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", preprocessing.NO_IMAGE),
        (b"some text", preprocessing.NO_IMAGE),
        (b"RIFF\0\0\0\0WAVEfmt ", preprocessing.NO_IMAGE),
        (FILES["bmp"][:28] + b"\x10\0" + FILES["bmp"][30:], preprocessing.UNUSUAL_BMP),
    ],
)
def test_what_is_not_read_is_named(encoded, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        preprocessing.decode(tf.constant(encoded))


def test_pixels_pass_through():
    np.testing.assert_array_equal(both_ways(preprocessing.decode, RGB), RGB)


def noise(height, width, seed=0):
    """Smooth noise: sharp enough to show a shift, without aliasing that hides one."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    image = Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return np.asarray(image)


def torchvision_center_crop(image, image_size):
    """Resize(256) and CenterCrop(224) as torchvision does them with Pillow, at any size."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    target = round(image_size * 256 / 224) if shorter > image_size else image_size
    if width <= height:
        size = (target, int(target * height / width))
    else:
        size = (int(target * width / height), target)
    resized = Image.fromarray(image).resize(size, Image.BILINEAR)
    left = round((size[0] - image_size) / 2.0)
    top = round((size[1] - image_size) / 2.0)
    return np.asarray(resized.crop((left, top, left + image_size, top + image_size)))


SIZES = [(375, 500), (500, 333), (257, 256), (224, 224), (225, 300), (90, 60), (32, 32), (31, 77)]


@pytest.mark.parametrize("image_size", [224, 64, 32, 33])
def test_center_crop_is_torchvisions(image_size):
    images = [noise(*size) for size in SIZES]
    crops = both_ways_each(lambda x: preprocessing.center_crop(x, image_size), images)
    for image, crop in zip(images, crops, strict=True):
        assert crop.shape == (image_size, image_size, 3)
        difference = crop.astype(int) - torchvision_center_crop(image, image_size)
        # Pillow rounds to 8 bits between its horizontal and vertical pass, here only at the end;
        # with its fixed-point weights that makes 1. One pixel aside would make 10 and more.
        assert np.abs(difference).max() <= 1


def test_center_crop_of_an_image_of_the_right_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(preprocessing.center_crop(tf.constant(image), 32), image)


def test_center_crop_of_extreme_shapes():
    shapes = [(1, 1), (1, 4000), (3000, 2), (65500, 1)]
    images = [np.full((*shape, 3), 77, np.uint8) for shape in shapes]
    for crop in both_ways_each(lambda x: preprocessing.center_crop(x, 224), images):
        np.testing.assert_array_equal(crop, np.full((224, 224, 3), 77))


def test_center_crop_of_a_banner_is_its_middle():
    # 2 x 1001 pixels grow by 112: the crop shows two columns, the middle one of which is white.
    image = np.zeros((2, 1001, 3), np.uint8)
    image[:, 500] = 255
    crop = preprocessing.center_crop(tf.constant(image), 224).numpy()
    difference = crop.astype(int) - torchvision_center_crop(image, 224)
    # The factor is no whole number on the long side (cut to an integer); float32 positions near
    # 56,000 are exact to 0.004 pixels of the result, 0.01 of a grey level per column here.
    assert np.abs(difference).max() <= 1
    assert crop[100, 112, 0] > 240


def test_center_crop_batch_equals_one_by_one():
    images = np.stack([noise(60, 83, seed) for seed in range(3)])
    batch = both_ways(lambda x: preprocessing.center_crop_batch(x, 32), images)
    for image, crop in zip(images, batch, strict=True):
        np.testing.assert_array_equal(preprocessing.center_crop(tf.constant(image), 32), crop)


def test_preprocess_for_clustering_takes_bytes_and_pixels():
    encoded = FILES["jpeg"]
    from_bytes = both_ways(lambda x: preprocessing.preprocess_for_clustering(x, 32), encoded)
    pixels = pillow(encoded)
    from_pixels = both_ways(lambda x: preprocessing.preprocess_for_clustering(x, 32), pixels)
    np.testing.assert_array_equal(from_bytes, from_pixels)


def test_an_exported_model_decodes_and_crops(tmp_path):
    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def crops(self, encoded):
            return tf.map_fn(
                lambda x: preprocessing.preprocess_for_clustering(x, 16),
                encoded,
                fn_output_signature=tf.TensorSpec([16, 16, 3], tf.uint8),
            )

    tf.saved_model.save(Server(), str(tmp_path))
    crops = tf.saved_model.load(str(tmp_path)).crops(tf.constant(list(FILES.values()))).numpy()
    for encoded, crop in zip(FILES.values(), crops, strict=True):
        expected = preprocessing.preprocess_for_clustering(tf.constant(encoded), 16)
        np.testing.assert_array_equal(crop, expected)


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


@tf.function
def drawn_windows(height, width, min_area, seeds):
    return tf.map_fn(
        lambda seed: tf.stack(preprocessing.draw_crop_window(height, width, seed, min_area)),
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
@hypothesis.settings(max_examples=200, deadline=None)
def test_the_window_lies_in_the_image(height, width, min_area, seed):
    drawn = preprocessing.draw_crop_window(
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
        lambda seed: preprocessing.augment(
            tf.constant(encoded), tf.ensure_shape(seed, [2]), image_size=24, hflip=False
        ),
        SEEDS,
    )


def expected_crop(pixels, seed, **options):
    """The drawn window, cut by NumPy and resized by Pillow."""
    y, x, h, w = preprocessing.draw_crop_window(*pixels.shape[:2], tf.constant(seed), **options)
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
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(Image.fromarray(noise(60, 90)), "JPEG", exif=exif, subsampling=0)
    # Without chroma subsampling, decoding the crop alone gives the very pixels.
    np.testing.assert_array_equal(augmented(encoded), augmented(pillow(encoded)))


def test_augment_of_a_jpeg_with_subsampled_chroma_differs_at_the_border_only():
    encoded = encode(Image.fromarray(noise(60, 90)), "JPEG", quality=95)
    difference = np.array(augmented(encoded)).astype(int) - augmented(pillow(encoded))
    # The colour of a border pixel is interpolated from a neighbour that was not decoded.
    assert np.abs(difference)[:, 2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(60, 83), (97, 64), (41, 200), (24, 24), (20, 30)])
def test_the_center_crop_of_a_jpeg_is_that_of_its_pixels(size, orientation, subsampling):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(Image.fromarray(noise(*size)), "JPEG", exif=exif, subsampling=subsampling)
    crop = preprocessing.preprocess_for_clustering(tf.constant(encoded), 24)
    # Colours at the border of what is decoded are not used.
    np.testing.assert_array_equal(crop, preprocessing.center_crop(pillow(encoded), 24))


# One pixel short of each reduction, and at it: a half from 4 times the crop on, and so on.
@pytest.mark.parametrize("size", [(96, 150), (191, 192), (192, 200), (401, 384), (385, 650)])
def test_crops_of_jpegs_that_are_reduced_while_decoding(size):
    def close(crop, exact):
        difference = np.abs(crop.astype(int) - exact)
        # 1.4 and 17 were seen; a shift by a pixel of the crop makes 33 on average.
        assert difference.mean() < 2
        assert difference.max() <= 25

    # As smooth as photographs are, which this was measured on.
    image = Image.fromarray(noise(size[0] // 3, size[1] // 3)).resize(size[::-1], Image.BICUBIC)
    encoded = encode(image, "JPEG", quality=95, subsampling=0)
    crop = preprocessing.preprocess_for_clustering(tf.constant(encoded), 24)
    close(crop.numpy(), preprocessing.center_crop(pillow(encoded), 24).numpy())
    for seed, crop in zip(SEEDS, augmented(encoded), strict=True):
        close(crop, expected_crop(pillow(encoded), seed))


def test_resizing_is_tensorflows_antialiased_one():
    images = np.stack([noise(61, 83, seed) for seed in range(2)])
    scale, shift = [0.5, 0.9], [-1.3, -20.7]
    expected = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=[24, 24],
        scale=scale,
        translation=shift,
        kernel_type="triangle",
        antialias=True,
    )
    resized = preprocessing._resize(images, 24, tf.constant(scale), tf.constant(shift))
    # Both round to a half where the sum of the weights is not exactly 1.
    np.testing.assert_allclose(resized, expected, atol=0.501)


def test_flips_mirror_half_of_the_crops():
    pixels = noise(40, 40)
    flipped = 0
    pairs = tf.data.Dataset.range(100).map(
        lambda i: [
            preprocessing.augment(tf.constant(pixels), tf.stack([5, i]), image_size=8, hflip=hflip)
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
        lambda i: preprocessing.augment(tf.constant(encoded), tf.stack([7, i]), image_size=16),
        num_parallel_calls=4,
    )
    first, second = (np.stack(list(dataset.as_numpy_iterator())) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len({image.tobytes() for image in first}) == 16


def test_every_kind_can_be_augmented():
    crops = both_ways_each(
        lambda x: preprocessing.augment(x, [1, 2], image_size=24), list(FILES.values())
    )
    assert {(crop.shape, crop.dtype) for crop in crops} == {((24, 24, 3), np.dtype(np.uint8))}


def test_augment_of_extreme_shapes():
    files = [
        encode(Image.new("RGB", size, (9, 9, 9)), kind)
        for size in [(1, 1), (2000, 3), (1, 500)]
        for kind in ("PNG", "JPEG")
    ]
    for crop in both_ways_each(lambda x: preprocessing.augment(x, [0, 0], image_size=24), files):
        np.testing.assert_array_equal(crop, np.full((24, 24, 3), 9))
