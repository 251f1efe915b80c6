"""BMP of Windows and OS/2, whole and damaged."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.pixels.decoding import check, decode
from dc_keras.data.pixels.limits import NO_PIXELS, TOO_LARGE, TOO_LONG, UNUSUAL_BMP
from encoded_images import IMAGE, both_ways_each, encode, pillow

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)


def bmp(width, height, bits, data, *, size=40, compression=0, more=b""):
    """A BMP of a header of that size; `more` stands behind the header's first 40 bytes."""
    info = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    if size == 12:
        info = struct.pack("<IHHHH", size, width, height, 1, bits)
    start = 14 + len(info) + len(more)
    return b"BM" + struct.pack("<III", start + len(data), 0, start) + info + more + data


def of_os2(image):
    """The kind that OS/2 wrote first, of an image with a palette or without."""
    bits = {"1": 1, "P": 8, "RGB": 24}[image.mode]
    written = encode(image, "BMP")
    start = int.from_bytes(written[10:14], "little")
    palette = np.frombuffer(written[54:start], np.uint8).reshape(-1, 4)[:, :3]
    whole = np.zeros((0 if bits == 24 else 2**bits, 3), np.uint8)
    whole[: len(palette)] = palette
    return bmp(*image.size, bits, written[start:], size=12, more=whole.tobytes())


@pytest.mark.parametrize("mode", ["1", "P", "RGB"])
def test_bmp_of_os2(mode):
    encoded = of_os2(IMAGE.convert(mode))
    for image in both_ways_each(decode, [encoded]):
        np.testing.assert_array_equal(image, pillow(encoded))
        np.testing.assert_array_equal(image, IMAGE.convert(mode).convert("RGB"))


MASKS = {
    "blue first": (0xFF0000, 0xFF00, 0xFF, 0),
    "red first": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "opacity first": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    "opacity last": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "opacity before red": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
    "none before red": (0xFF000000, 0xFF00, 0xFF, 0),
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("size", [40, 56, 108, 124])
def test_masks_say_where_the_colours_are(masks, size):
    more = struct.pack("<4I", *MASKS[masks])
    # The shortest header has no room for masks: three stand behind it.
    more = more[:12] if size == 40 else more + bytes(size - 56)
    encoded = bmp(7, 5, 32, PIXELS.tobytes(), size=size, compression=3, more=more)
    image = decode(tf.constant(encoded)).numpy().astype(int)
    # Pillow does not know red first without opacity.
    red_first = PIXELS[::-1, :, :3].astype(int)
    expected = red_first if (masks, size) == ("red first", 40) else pillow(encoded)
    assert np.abs(image - expected).max() <= 1


ROW = bytes(range(24))
REFUSED = {
    "no width": (bmp(0, 6, 24, ROW), NO_PIXELS),
    "no height": (bmp(6, 0, 24, ROW), NO_PIXELS),
    "negative width": (bmp(-6, 1, 24, ROW), NO_PIXELS),
    "least width": (bmp(-(2**31), 1, 24, ROW), NO_PIXELS),
    "no width, of OS/2": (bmp(0, 6, 24, ROW, size=12), NO_PIXELS),
    "least height": (bmp(1, -(2**31), 24, ROW), TOO_LARGE),
    "largest sides": (bmp(2**31 - 1, 2**31 - 1, 24, ROW), TOO_LARGE),
    # The first has 32 times as many bits as 32 bits can count; each row fits into 8 MB.
    "wide": (bmp(67_108_864, 1, 1, bytes(8_388_608)), TOO_LONG),
    "wider": (bmp(100_000_000, 1, 1, bytes(12_500_000)), TOO_LONG),
    "tall": (bmp(1, 67_108_864, 32, ROW), TOO_LONG),
    "16 bits": (bmp(2, 2, 16, ROW), UNUSUAL_BMP),
    "packed": (bmp(2, 2, 8, ROW, compression=1), UNUSUAL_BMP),
    "unknown header": (bmp(2, 2, 24, ROW, size=44), UNUSUAL_BMP),
    "masks of 5 bits": (
        bmp(2, 2, 32, ROW, compression=3, more=struct.pack("<3I", 0x7C00, 0x3E0, 0x1F)),
        UNUSUAL_BMP,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_by_all_with_its_reason(name):
    encoded, reason = REFUSED[name]
    augmentation = Augmentation(image_size=32)
    for read in (
        decode,
        check,
        lambda data: preprocess_for_clustering(data, 32),
        lambda data: augment(data, tf.constant([1, 2]), augmentation),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            read(tf.constant(encoded))
        assert reason in error.value.message


@pytest.mark.parametrize(
    "encoded",
    [
        bmp(6, 1, 24, ROW)[:-10],
        # Pixels that begin beyond the end, at 2**31 and at 2**32 - 1.
        bmp(6, 1, 24, ROW)[:10] + b"\0\0\0\x80" + bmp(6, 1, 24, ROW)[14:],
        bmp(6, 1, 24, ROW)[:10] + b"\xff\xff\xff\xff" + bmp(6, 1, 24, ROW)[14:],
        # 100 colours and a pixel of the 256th.
        bmp(1, 1, 8, b"\xff\0\0\0", more=bytes(400)),
    ],
)
def test_what_lies_beyond_the_end_is_damage(encoded):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(encoded))


def test_a_palette_says_how_many_colours_it_has():
    written = bytearray(encode(IMAGE.quantize(5), "BMP"))
    for colors in (2**31, 2**32 - 1):
        written[46:50] = struct.pack("<I", colors)
        # All 256 are taken to be there; of what follows nobody asks.
        decoded = decode(tf.constant(bytes(written)))
        np.testing.assert_array_equal(decoded, IMAGE.quantize(5).convert("RGB"))


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(1, 1_000_000), (1_000_000, 1), (100, 400_000)])
def test_ribbons_show_their_middle(height, width):
    """The middle third is white, the rest black; Pillow has no crop of such images."""
    long = max(height, width)
    line = np.zeros(long, np.uint8)
    line[long // 3 : 2 * long // 3] = 255
    image = np.broadcast_to(line if width == long else line[:, None], (height, width))
    packed = encode(Image.fromarray(np.ascontiguousarray(image)).convert("1"), "BMP")
    crop = preprocess_for_clustering(tf.constant(packed), 32).numpy()
    np.testing.assert_array_equal(crop, 255)
    augmentation = Augmentation(image_size=32, hflip=False)
    seen = [augment(tf.constant(packed), tf.constant([0, i]), augmentation) for i in range(3)]
    # Windows of a ratio of 4/3 at most lie in the middle where no other fits.
    assert min(height, width) > 1 or np.all(np.equal(seen, 255))
