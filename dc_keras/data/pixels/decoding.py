"""From an encoded image to RGB pixels: JPEG, PNG, BMP, GIF and WebP, by content and not by suffix.

Everything here is made of TensorFlow operations without state, and runs eagerly, in tf.data and in
an exported model. JPEG is decoded with the accurate DCT, which gives the pixels that Pillow gives.
"""

import numpy as np
import tensorflow as tf

from dc_keras.data.pixels.bmp import decode_bmp
from dc_keras.data.pixels.calls import ENCODED, NUMBER, RANGE, call_of_its_own
from dc_keras.data.pixels.exif import exif_orientation, turn_upright
from dc_keras.data.pixels.file_bytes import starts_with, substring
from dc_keras.data.pixels.gif import decode_gif
from dc_keras.data.pixels.limits import allowed_size
from dc_keras.data.pixels.options import ALL_OF_16_BITS, USUAL, PixelOptions
from dc_keras.data.pixels.png import PNG, decode_plain_png, decode_png, is_deep_png, is_plain_png
from dc_keras.data.pixels.webp import decode_webp, is_webp

# Denominators by which libjpeg can reduce an image while it decodes.
_REDUCTIONS = (1, 2, 4, 8)
# What is left for the resizing behind it, at least: Pillow's `reducing_gap` of 2.
_REDUCTION_LEFT = 2
# What stands at the start of each format that is read; the content decides, not the suffix.
JPEG, GIF, BMP = b"\xff\xd8\xff", b"GIF8", b"BM"


def decode(encoded: tf.Tensor, options: PixelOptions = USUAL) -> tf.Tensor:
    """Decodes an image to RGB.

    JPEG, PNG, BMP, GIF (first frame) and WebP (first frame). Grey is repeated, CMYK converted,
    palettes are looked up. What is transparent is laid on white. Images are turned upright by their
    Exif orientation, and PNG and WebP by that of XMP where there is no Exif.

    What a file declares is looked at before anything is decoded: a few kilobytes can declare
    billions of pixels.

    Args:
        encoded: Scalar string tensor, the bytes of a file; or a uint8 tensor (h, w, 3), which is
            returned as it is.
        options: What becomes of 16 bits, and how many pixels are allowed.

    Returns:
        uint8 (h, w, 3), with at least one pixel.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are no image, damaged, of a kind that is not
            read, or declare no pixels, more than are allowed, or a side longer than `MAX_SIDE`.
            `inspection` finds these before training starts.
    """
    if encoded.dtype == tf.uint8:
        return encoded
    image = tf.cond(
        is_upright_jpeg(encoded),
        lambda: _decode_jpeg(encoded, options.max_pixels),
        lambda: decode_other(encoded, options),
    )
    return tf.ensure_shape(image, (None, None, 3))


def is_upright_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Whether an image is a JPEG whose pixels are stored as they are to be seen.

    Nearly every image is, so that decoders branch on this alone. A JPEG that begins with nothing
    but the usual header is known by its first bytes; others are searched for Exif.

    Args:
        encoded: Scalar string tensor.

    Returns:
        Scalar bool. True promises no more than that the file starts as a JPEG does.
    """

    def has_no_turn():
        # One search through the opening tells most images, which carry no Exif, from the others.
        opening = tf.strings.substr(encoded, 0, 1 << 16)
        has_exif = tf.strings.regex_full_match(opening, r"(?s)\C*Exif\x00\x00\C*")
        return tf.cond(has_exif, lambda: exif_orientation(encoded) == 1, lambda: True)

    # JFIF's segment of 16 bytes, behind which tables follow and no Exif.
    plain = starts_with(encoded, JPEG + b"\xe0\x00\x10") & (
        substring(encoded, 20, 2) == b"\xff\xdb"
    )
    unusual = ~plain & starts_with(encoded, JPEG)
    return plain | tf.cond(unusual, has_no_turn, lambda: False)


def has_known_start(encoded: tf.Tensor) -> tf.Tensor:
    """Whether bytes start like a file of a format that is read, scalar bool.

    Args:
        encoded: Scalar string tensor.
    """
    known = [starts_with(encoded, start) for start in (JPEG, PNG, GIF, BMP)]
    return tf.reduce_any([*known, is_webp(encoded)])


def decode_other(encoded: tf.Tensor, options: PixelOptions = USUAL) -> tf.Tensor:
    """Decodes what is no upright JPEG, as `decode`.

    Pipelines hold plain PNG alone, and call back into this process for all else. Each iterator
    takes its graph up anew, with the branches that no image takes: with all formats in it, it began
    after 1.5 to 2.7 s in place of 0.4 (CPU time, at the beginning of every pass over the images).
    """
    told = (
        encoded,
        tf.constant(options.value_range or ALL_OF_16_BITS),
        tf.constant(options.max_pixels),
    )
    if options.portable or tf.executing_eagerly():
        return _decode_other(*told)
    return tf.cond(
        is_plain_png(encoded),
        lambda: decode_plain_png(encoded, options.max_pixels),
        lambda: _decoded_in_this_process(*told),
    )


def _decoded_in_this_process(encoded, value_range, max_pixels):
    image, refused = tf.numpy_function(
        _try_to_decode, [encoded, value_range, max_pixels], (tf.uint8, tf.string), stateful=False
    )
    with tf.control_dependencies([tf.debugging.Assert(refused == b"", [refused])]):
        return tf.ensure_shape(tf.identity(image), (None, None, 3))


def _try_to_decode(encoded, value_range, max_pixels):
    """The pixels, or the reason why there are none: exceptions would come with a traceback."""
    try:
        image = _decode_other(tf.constant(encoded), value_range, max_pixels)
        return image.numpy(), b""
    except tf.errors.OpError as error:
        return np.zeros((0, 0, 3), np.uint8), error.message.encode()


@call_of_its_own(ENCODED, RANGE, NUMBER)
def _decode_other(encoded, value_range, max_pixels):
    kinds = [JPEG, PNG, GIF, BMP]
    kind = tf.argmax([starts_with(encoded, kind) for kind in kinds] + [True])
    return tf.switch_case(
        tf.cast(kind, tf.int32),
        [
            lambda: _decode_turned_jpeg(encoded, max_pixels),
            lambda: decode_png(encoded, value_range, max_pixels),
            lambda: decode_gif(encoded, max_pixels),
            lambda: decode_bmp(encoded, max_pixels),
            lambda: decode_webp(encoded, max_pixels),
        ],
    )


def jpeg_size(encoded: tf.Tensor, max_pixels: tf.Tensor | int) -> tf.Tensor:
    """Height and width of a JPEG, int32 (2,), read from its header.

    Args:
        encoded: Scalar string tensor.
        max_pixels: How many it may have.

    Raises:
        tf.errors.InvalidArgumentError: If it has none, or declares a size that is not read.
    """
    return allowed_size(tf.image.extract_jpeg_shape(encoded)[:2], max_pixels)


def jpeg_reduction(factors: tf.Tensor) -> tf.Tensor:
    """The largest of `_REDUCTIONS` that leaves enough to the resizing.

    Args:
        factors: How much smaller each side becomes, float32 (2,).

    Returns:
        Scalar int32.
    """
    enough = tf.reduce_min(factors) >= [float(_REDUCTION_LEFT * r) for r in _REDUCTIONS[1:]]
    return 2 ** tf.reduce_sum(tf.cast(enough, tf.int32))


def decode_jpeg_window(encoded: tf.Tensor, window: tf.Tensor, reduction: tf.Tensor) -> tf.Tensor:
    """Decodes a part of a JPEG, perhaps at a half, quarter or eighth of its size.

    Args:
        encoded: Scalar string tensor.
        window: y, x, height and width in pixels of the reduced image, int32 (4,).
        reduction: 1, 2, 4 or 8.

    Returns:
        uint8 (height, width, 3).
    """

    def decode_at(ratio):
        return lambda: tf.image.decode_and_crop_jpeg(
            encoded, window, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
        )

    # The usual case by itself: branches that are not taken cost a little each.
    return tf.cond(
        reduction == 1,
        decode_at(1),
        lambda: tf.switch_case(reduction // 4, [decode_at(ratio) for ratio in _REDUCTIONS[1:]]),
    )


def check(encoded: tf.Tensor, options: PixelOptions = USUAL) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads all of an image and fails exactly where `decode` does, for less.

    Args:
        encoded: Scalar string tensor.
        options: As for `decode`.

    Returns:
        Its height and width as `decode` gives them, int32 (2,), and whether it has 16 bits, scalar
        bool.

    Raises:
        tf.errors.InvalidArgumentError: As `decode`.
    """
    size = tf.cond(
        is_upright_jpeg(encoded),
        lambda: check_jpeg(encoded, options.max_pixels),
        lambda: tf.shape(decode_other(encoded, options))[:2],
    )
    return size, is_deep_png(encoded)


def check_jpeg(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """`check` of what is known to start as a JPEG; gives its height and width.

    It is decoded at an eighth of its size: every coefficient is read, so that a file cut off is
    found, also below the crop, but few pixels are computed.
    """
    size = jpeg_size(encoded, max_pixels)
    with tf.control_dependencies([size]):
        reduced = tf.io.decode_jpeg(encoded, channels=3, ratio=8)
    # As a value: what only has to come first and leaves no trace is optimised away.
    return tf.where(tf.size(reduced) > 0, size, 0)


def _decode_jpeg(encoded, max_pixels):
    with tf.control_dependencies([jpeg_size(encoded, max_pixels)]):
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


@call_of_its_own(ENCODED, NUMBER)
def _decode_turned_jpeg(encoded, max_pixels):
    return turn_upright(_decode_jpeg(encoded, max_pixels), exif_orientation(encoded))
