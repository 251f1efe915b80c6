"""Images that TensorFlow does not read: Pillow reads them and gives PNG, whenever they are loaded.

So everything behind `ImageSource.load` sees bytes that it knows, and what is packed is PNG. That
takes several times as long as decoding alone; `--cache` and `dc-keras pack` do it once.
"""

import functools
import importlib
import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import (
    AvifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    Jpeg2KImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
)

from dc_keras.data.pixels.decoding import JPEG, has_known_start
from dc_keras.data.pixels.file_bytes import starts_with
from dc_keras.data.pixels.limits import MAX_SIDE, TOO_LARGE, TOO_LONG
from dc_keras.data.pixels.options import ALL_OF_16_BITS
from dc_keras.data.sources import file_kinds

NO_HEIC = (
    "HEIC, which needs the library pillow-heif: pip install pillow-heif, or convert it to JPEG"
)
# By name, not through `Image.open`: its limit of pixels holds for the whole process, and some of
# Pillow's other formats start programs.
_READERS: dict[str, Callable[..., ImageFile.ImageFile]] = {
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
# The bytes are decoded at once, so nothing but runs is looked for (zlib's Z_RLE): half of the time,
# and photographs come out no larger.
_COMPRESSION = {"compress_level": 1, "compress_type": 3}


class _RefusedError(Exception):
    """An image that is not converted, with the reason as lists show it."""


def with_known_start(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Passes on what TensorFlow reads, and converts what Pillow reads alone.

    Args:
        encoded: Scalar string tensor, the bytes of a file.
        max_pixels: Images that declare more are not converted.

    Returns:
        Scalar string tensor: these bytes, or those of a PNG. What neither reads stays as it is, so
        that the decoder refuses it.
    """

    def convert():
        png = tf.numpy_function(_png_or_unchanged, [encoded, max_pixels], tf.string)
        return tf.ensure_shape(png, [])

    def unless_known():
        return tf.cond(has_known_start(encoded), lambda: encoded, convert)

    # The most frequent start by itself, for a branch costs a little.
    return tf.cond(starts_with(encoded, JPEG), lambda: encoded, unless_known)


def why_not_converted(encoded: bytes, max_pixels: int) -> str:
    """Why Pillow cannot read a file of one of its formats; empty for others, and if it can."""
    kind = file_kinds.kind_of_start(encoded[: file_kinds.START])
    if kind == file_kinds.HEIC and not reads_heic():
        return NO_HEIC
    if kind in file_kinds.DECODED or kind == file_kinds.EMPTY:
        return ""
    if kind not in file_kinds.CONVERTED:
        return "" if kind == file_kinds.OTHER else f"{kind}, which is not read: convert it to PNG"
    try:
        to_png(encoded, max_pixels)
    except _RefusedError as error:
        return str(error)
    except Exception as error:
        return f"a damaged or unusual {kind} ({error}): mend it or convert it to PNG or JPEG"
    return ""


def to_png(encoded: bytes, max_pixels: int) -> bytes:
    """Converts an image to PNG: of grey levels of 8 or 16 bits, or RGB of 8.

    The first page or frame, upright, on white where it is transparent. Numbers of more than 8 bits
    keep their values, if these fit into 16 bits: what of them is black and white is known of the
    whole data set alone. Others are stretched over grey levels, image by image; real numbers are
    taken for 0..1 if they lie there, and for 0..255 if they lie there.

    Args:
        encoded: The bytes of a TIFF, PPM, PGM, PBM, JPEG 2000 or AVIF, or HEIC with pillow-heif.
        max_pixels: How many it may declare.

    Raises:
        Exception: Of any kind, as Pillow meets damaged files with.
    """
    with _opened(encoded) as image:
        if image.width * image.height > max_pixels:
            raise _RefusedError(TOO_LARGE)
        if max(image.size) > MAX_SIDE:
            raise _RefusedError(TOO_LONG)
        pixels = ImageOps.exif_transpose(_grey_of_numbers(image))
    if not pixels.mode.startswith("I"):
        pixels = _on_white(pixels)
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


def _opened(encoded: bytes) -> ImageFile.ImageFile:
    """The image, of which nothing but the header is read."""
    kind = file_kinds.kind_of_start(encoded[: file_kinds.START])
    file = io.BytesIO(encoded)
    if kind == file_kinds.HEIC and reads_heic():
        return Image.OPEN["HEIF"][0](file, "")
    if kind not in _READERS:
        raise Image.UnidentifiedImageError(f"{kind} is not converted")
    return _READERS[kind](file, "")


def _png_or_unchanged(received: bytes | np.ndarray, max_pixels: np.ndarray) -> bytes:
    # Eager execution gives an array without dimensions, a pipeline the bytes.
    encoded = np.asarray(received, object).item()
    try:
        return to_png(encoded, int(max_pixels))
    # Pillow meets damaged files with errors of any kind. The decoder will refuse this one, and
    # `why_not_converted` will tell why.
    except Exception:
        return encoded


def _grey_of_numbers(image: Image.Image) -> Image.Image:
    """Grey images of more than 8 bits as such of 16 or 8; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= ALL_OF_16_BITS[0] and high <= ALL_OF_16_BITS[1]:
        grey = Image.fromarray(values.astype(np.uint16))
    else:
        if image.mode.startswith("F") and low >= 0 and high <= 255:
            low, high = 0.0, 1.0 if high <= 1 else 255.0
        scaled = (values - low) * (255 / max(high - low, 1e-30))
        grey = Image.fromarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))
    # How it is to be turned.
    grey.info |= image.info
    return grey


def _on_white(image: Image.Image) -> Image.Image:
    """Grey or RGB, with white where the image is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")
