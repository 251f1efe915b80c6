"""Images encoded in every way that is read, what Pillow makes of them, and both ways to read them.

A function of images must give the same eagerly and inside a tf.data pipeline: `both_ways` runs it
in both.
"""

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

ROWS, COLUMNS = np.mgrid[0:40, 0:50]
RGB = np.stack([COLUMNS * 5, ROWS * 6, (COLUMNS + ROWS) * 2], -1).astype(np.uint8)
IMAGE = Image.fromarray(RGB)
ALPHA = Image.fromarray(np.dstack([RGB, COLUMNS * 5]).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of an image file, as Pillow writes them."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pillow(encoded: bytes) -> np.ndarray:
    """How Pillow sees it: first frame, upright, on white, RGB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def exif_turned(orientation: int) -> bytes:
    """Exif that says nothing but the orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _animation(image, **options):
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
    "png grey transparent": encode(IMAGE.convert("L"), "PNG", transparency=90),
    "png colour transparent": encode(IMAGE, "PNG", transparency=(100, 120, 80)),
    "png palette half transparent": encode(
        IMAGE.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))
    ),
    "png bits": encode(IMAGE.convert("1"), "PNG"),
    "bmp": encode(IMAGE, "BMP"),
    "bmp grey": encode(IMAGE.convert("L"), "BMP"),
    "bmp alpha": encode(ALPHA, "BMP"),
    "bmp palette": encode(IMAGE.convert("P"), "BMP"),
    "bmp short palette": encode(IMAGE.quantize(5), "BMP"),
    "bmp bits": encode(IMAGE.convert("1"), "BMP"),
    "bmp padded": encode(IMAGE, "BMP") + b"\0\0",
    "gif": encode(IMAGE, "GIF"),
    "gif transparent": encode(IMAGE.quantize(16), "GIF", transparency=5),
    "gif animation": encode(IMAGE, "GIF", **_animation(IMAGE)),
    "webp": encode(IMAGE, "WEBP"),
    "webp alpha": encode(ALPHA, "WEBP", lossless=True, exact=True),
    "webp animation": encode(ALPHA, "WEBP", **_animation(ALPHA, lossless=True)),
    "webp animation without alpha": encode(IMAGE, "WEBP", **_animation(IMAGE, quality=80)),
}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise: sharp enough to show a shift, without aliasing that hides one."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    image = Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return np.asarray(image)


# One pixel short of each reduction, and at it, for crops of 24 pixels: a half from 4 times the crop
# on, and so on.
REDUCED_SIZES = [(96, 150), (191, 192), (192, 200), (401, 384), (385, 650)]


def smooth_jpeg(height: int, width: int) -> bytes:
    """A JPEG as smooth as photographs are, which are reduced while they are decoded."""
    image = Image.fromarray(noise(height // 3, width // 3)).resize((width, height), Image.BICUBIC)
    return encode(image, "JPEG", quality=95, subsampling=0)


def assert_close_to_unreduced(crop: np.ndarray, exact: np.ndarray) -> None:
    """That a crop of 24 pixels shows what one of the whole photograph shows."""
    difference = np.abs(crop.astype(int) - exact)
    # 1.4 and 17 were seen; a shift by a pixel of the crop makes 33 on average.
    assert difference.mean() < 2
    assert difference.max() <= 25


def both_ways_each(function: Callable, values: Sequence) -> list[np.ndarray]:
    """`function` of each value, after checking that eager execution and tf.data agree."""
    eagerly = [function(tf.constant(value)).numpy() for value in values]
    spec = tf.TensorSpec([None] * np.ndim(values[0]), tf.constant(values[0]).dtype)
    # One pipeline for all values: making it takes longer than running it.
    dataset = tf.data.Dataset.from_generator(lambda: iter(values), output_signature=spec)
    for expected, received in zip(eagerly, dataset.map(function), strict=True):
        np.testing.assert_array_equal(received, expected)
    return eagerly


def both_ways(function: Callable, value) -> np.ndarray:
    """`both_ways_each` of one value."""
    return both_ways_each(function, [value])[0]
