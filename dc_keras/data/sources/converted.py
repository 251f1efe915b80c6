"""Images that TensorFlow does not read: Pillow reads them and gives PNG, whenever they are loaded.

So everything behind `ImageSource.load` sees bytes that it knows, and what is packed is PNG. That
takes several times as long as decoding alone; `--cache` and `dc-keras pack` do it once.
"""

import functools
import importlib
import io

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from dc_keras.data.pixels.decoding import JPEG, has_known_start
from dc_keras.data.pixels.file_bytes import starts_with
from dc_keras.data.pixels.limits import TOO_LARGE
from dc_keras.data.sources import file_kinds

NO_HEIC = (
    "HEIC, which needs the library pillow-heif: pip install pillow-heif, or convert it to JPEG"
)
# Of Pillow's formats only these: some start other programs.
_FORMATS = ["TIFF", "PPM", "JPEG2000", "AVIF"]
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281
# The bytes are decoded at once, so nothing but runs is looked for (zlib's Z_RLE): half of the time,
# and photographs come out no larger.
_COMPRESSION = {"compress_level": 1, "compress_type": 3}


def with_known_start(encoded: tf.Tensor) -> tf.Tensor:
    """Passes on what TensorFlow reads, and converts what Pillow reads alone.

    Args:
        encoded: Scalar string tensor, the bytes of a file.

    Returns:
        Scalar string tensor: these bytes, or those of a PNG. What neither reads stays as it is, so
        that the decoder refuses it.
    """

    def convert():
        png = tf.numpy_function(_png_or_unchanged, [encoded], tf.string)
        return tf.ensure_shape(png, [])

    def unless_known():
        return tf.cond(has_known_start(encoded), lambda: encoded, convert)

    # The most frequent start by itself, for a branch costs a little.
    return tf.cond(starts_with(encoded, JPEG), lambda: encoded, unless_known)


def why_not_converted(encoded: bytes) -> str:
    """Why Pillow cannot read a file of one of its formats; empty for others, and if it can."""
    kind = file_kinds.kind_of_start(encoded[: file_kinds.START])
    if kind == file_kinds.HEIC and not reads_heic():
        return NO_HEIC
    if kind in file_kinds.DECODED or kind == file_kinds.EMPTY:
        return ""
    if kind not in file_kinds.CONVERTED:
        return "" if kind == file_kinds.OTHER else f"{kind}, which is not read: convert it to PNG"
    try:
        to_png(encoded)
    except Image.DecompressionBombError:
        return TOO_LARGE
    except Exception as error:
        return f"a damaged or unusual {kind} ({error}): mend it or convert it to PNG or JPEG"
    return ""


def to_png(encoded: bytes) -> bytes:
    """Converts an image to PNG, of grey levels or RGB with 8 bits.

    The first page or frame, upright, on white where it is transparent. What has more than 8 bits is
    divided by its range: the one that the file declares, else the bits that its values take. Real
    numbers are taken for 0..1 if they lie there, for 0..255 if they lie there, and else stretched.

    Args:
        encoded: The bytes of a TIFF, PPM, PGM, PBM, JPEG 2000 or AVIF, or HEIC with pillow-heif.

    Raises:
        Exception: Of any kind, as Pillow meets damaged files with; the largest images that it
            allows have as many pixels as `decoding` allows.
    """
    formats = [*_FORMATS, "HEIF"] if reads_heic() else _FORMATS
    with Image.open(io.BytesIO(encoded), formats=formats) as image:
        pixels = _on_white(ImageOps.exif_transpose(_eight_bits(image)))
    file = io.BytesIO()
    pixels.save(file, "PNG", **_COMPRESSION)
    return file.getvalue()


@functools.cache
def reads_heic() -> bool:
    """Whether Pillow's plugin for HEIC is installed, which is optional."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _png_or_unchanged(received: bytes | np.ndarray) -> bytes:
    # Eager execution gives an array without dimensions, a pipeline the bytes.
    encoded = np.asarray(received, object).item()
    try:
        return to_png(encoded)
    # Pillow meets damaged files with errors of any kind. The decoder will refuse this one, and
    # `why_not_converted` will tell why.
    except Exception:
        return encoded


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey images of more bits or real numbers as 8 bits; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("F") or low < 0:
        if low >= 0 and high <= 255:
            low, high = 0.0, 1.0 if high <= 1 else 255.0
    else:
        low, high = 0.0, _largest_value(image, high)
    scaled = (values - low) * (255 / max(high - low, 1e-30))
    grey = Image.fromarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))
    # How it is to be turned.
    grey.info |= image.info
    return grey


def _largest_value(image: Image.Image, largest: float) -> float:
    """What white is in an image of integers."""
    if image.format != "TIFF":
        # Pillow has scaled them to 16 bits, by what the file declares.
        return 65535.0
    tags = getattr(image, "tag_v2", {})
    (declared,) = np.ravel(tags.get(_MAX_SAMPLE_VALUE, 0))[:1]
    (bits,) = np.ravel(tags.get(_BITS_PER_SAMPLE, 16))[:1]
    if declared >= largest and declared < 2.0**bits - 1:
        return float(declared)
    if bits == 12:
        return 4095.0
    # Cameras of 10 or 12 bits write files of 16, of which the lower ones alone are used.
    return 2.0 ** max(8, int(largest).bit_length()) - 1


def _on_white(image: Image.Image) -> Image.Image:
    """Grey or RGB, with white where the image is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")
