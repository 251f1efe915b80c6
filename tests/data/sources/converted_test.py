"""Images that Pillow reads: what they become, and what is told where it cannot."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.limits import MAX_PIXELS, TOO_LARGE
from dc_keras.data.sources.converted import NO_HEIC, to_png, why_not_converted, with_known_start
from encoded_images import ALPHA, FILES, IMAGE, RGB, both_ways, both_ways_each, encode, exif_turned


def seen(encoded):
    """What training sees of a file."""
    return decode(with_known_start(tf.constant(encoded), MAX_PIXELS)).numpy()


def test_images_are_converted_in_pipelines_as_well():
    convert = both_ways(
        lambda value: decode(with_known_start(value, MAX_PIXELS)), encode(IMAGE, "TIFF")
    )
    np.testing.assert_array_equal(convert, RGB)


def test_what_tensorflow_reads_stays_as_it_is():
    same = both_ways_each(
        lambda value: with_known_start(value, MAX_PIXELS) == value, list(FILES.values())
    )
    assert all(same)


@pytest.mark.parametrize(
    ("image", "pillow", "options"),
    [
        (IMAGE, "TIFF", {}),
        (IMAGE, "TIFF", {"compression": "tiff_lzw"}),
        (IMAGE, "TIFF", {"compression": "jpeg"}),
        (IMAGE, "TIFF", {"big_tiff": True}),
        (IMAGE.convert("L"), "TIFF", {}),
        (IMAGE.convert("1"), "TIFF", {"compression": "group4"}),
        (IMAGE.convert("P"), "TIFF", {}),
        (IMAGE.convert("CMYK"), "TIFF", {}),
        (IMAGE, "PPM", {}),
        (IMAGE.convert("L"), "PPM", {}),
        (IMAGE.convert("1"), "PPM", {}),
        (IMAGE, "JPEG2000", {}),
        (IMAGE.convert("L"), "JPEG2000", {}),
        (IMAGE, "AVIF", {}),
    ],
)
def test_images_are_as_pillow_sees_them(image, pillow, options):
    encoded = encode(image, pillow, **options)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(seen(encoded), expected)


@pytest.mark.parametrize("pillow", ["TIFF", "JPEG2000"])
def test_what_is_transparent_is_white(pillow):
    # Black shapes that are in the alpha channel alone.
    shape = np.zeros((8, 8, 4), np.uint8)
    shape[2:6, 2:6, 3] = 255
    expected = np.full((8, 8, 3), 255)
    expected[2:6, 2:6] = 0
    np.testing.assert_array_equal(seen(encode(Image.fromarray(shape), pillow)), expected)


def test_half_transparent_pixels_are_mixed_with_white():
    encoded = encode(ALPHA, "TIFF")
    alpha = np.asarray(ALPHA)[..., 3:] / 255
    np.testing.assert_allclose(seen(encoded), RGB * alpha + 255 * (1 - alpha), atol=1)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pillow", ["TIFF", "AVIF"])
def test_exif_turns_images_upright(pillow, orientation):
    exif = exif_of(orientation) if pillow == "TIFF" else exif_turned(orientation)
    encoded = encode(IMAGE, pillow, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    assert expected.size == ((50, 40) if orientation < 5 else (40, 50))
    np.testing.assert_array_equal(seen(encoded), np.asarray(expected))


def test_sixteen_bits_keep_their_values_and_are_turned_upright():
    values = np.array([[290, 300, 330], [370, 0, 65535]], np.uint16)
    png = to_png(encode(Image.fromarray(values), "TIFF", exif=exif_of(6)), MAX_PIXELS)
    np.testing.assert_array_equal(tf.io.decode_png(png, dtype=tf.uint16)[..., 0], values[::-1].T)


def test_a_pgm_is_divided_by_the_value_that_it_declares():
    encoded = b"P5 3 1 1000\n" + struct.pack(">3H", 0, 400, 1000)
    # The upper 8 bits of the 16 that Pillow has scaled it to.
    assert seen(encoded)[0, :, 0].tolist() == [0, 102, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0.5, 1]], [0, 128, 255]),
        ([[0, 100, 255]], [0, 100, 255]),
        ([[-1, 0, 1]], [0, 128, 255]),
        ([[0, np.nan, 1]], [0, 0, 255]),
    ],
)
def test_real_numbers_become_grey_levels(values, expected):
    encoded = encode(Image.fromarray(np.array(values, np.float32)), "TIFF")
    assert seen(encoded)[0, :, 0].tolist() == expected


def test_the_first_page_is_taken():
    encoded = encode(IMAGE, "TIFF", save_all=True, append_images=[IMAGE.rotate(180)])
    np.testing.assert_array_equal(seen(encoded), RGB)


@pytest.mark.parametrize("pillow", ["TIFF", "PPM", "JPEG2000", "AVIF"])
def test_a_file_that_is_cut_off_is_refused_with_its_kind(pillow):
    encoded = encode(IMAGE, pillow)
    encoded = encoded[: len(encoded) // 2]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(with_known_start(tf.constant(encoded), MAX_PIXELS))
    assert "damaged or unusual" in why_not_converted(encoded, MAX_PIXELS)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    assert why_not_converted(b"P6 20000 9000 255\n", MAX_PIXELS) == TOO_LARGE


def test_heic_without_its_library_has_a_remedy(monkeypatch):
    monkeypatch.setattr("dc_keras.data.sources.converted.reads_heic", lambda: False)
    assert why_not_converted(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", MAX_PIXELS) == NO_HEIC


def test_formats_that_are_not_read_are_named():
    assert why_not_converted(b"\xff\x0a\0\0", MAX_PIXELS).startswith("JPEG XL, which is not read")
    assert why_not_converted(b"this is text", MAX_PIXELS) == ""
    assert why_not_converted(FILES["png"], MAX_PIXELS) == ""


def test_programs_are_not_started_for_postscript():
    # Pillow would give it to Ghostscript.
    with pytest.raises(Image.UnidentifiedImageError):
        to_png(encode(IMAGE, "EPS"), MAX_PIXELS)
