"""From an encoded image to RGB pixels: JPEG, PNG, BMP, GIF and WebP, by content and not by suffix.

Everything here is made of TensorFlow operations without state, and runs eagerly, in tf.data and in
an exported model. JPEG is decoded with the accurate DCT, which gives the pixels that Pillow gives.
"""

import tensorflow as tf

from dc_keras.data.pixels.exif import exif_orientation, turn_upright
from dc_keras.data.pixels.file_bytes import bytes_at, starts_with, substring, two_numbers_at

# Denominators by which libjpeg can reduce an image while it decodes.
_REDUCTIONS = (1, 2, 4, 8)


# What is left for the resizing behind it, at least: Pillow's `reducing_gap` of 2.
_REDUCTION_LEFT = 2


# What stands at the start of each format that is read; the content decides, not the suffix.
JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"


NO_IMAGE = "not a JPEG, PNG, BMP, GIF or WebP image"


UNUSUAL_BMP = "an unusual kind of BMP: convert it to PNG or JPEG"


# A decoded image takes three bytes a pixel, and what is resized of it four times as much. Cameras
# make up to 150 million pixels; Pillow refuses from here on, too.
MAX_PIXELS = 178_956_970


TOO_LARGE = f"it declares more than {MAX_PIXELS:,} pixels: make it smaller"


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image to RGB.

    JPEG, PNG, BMP, GIF (first frame) and WebP (first frame). Grey is repeated, CMYK converted,
    palettes are looked up, 16 bits cut to the upper 8, alpha is dropped as by Pillow's
    `convert("RGB")`. A JPEG is turned upright by its Exif orientation.

    What a file declares is looked at before anything is decoded: a few kilobytes can declare
    billions of pixels.

    Args:
        encoded: Scalar string tensor, the bytes of a file; or a uint8 tensor (h, w, 3), which is
            returned as it is.

    Returns:
        uint8 (h, w, 3).

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are no image, damaged, of a kind that is not
            read, or declare more than `MAX_PIXELS`. `inspection` finds these before training
            starts.
    """
    if encoded.dtype == tf.uint8:
        return encoded
    image = tf.cond(
        is_upright_jpeg(encoded),
        lambda: _decode_jpeg(encoded),
        lambda: decode_other(encoded),
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
    return tf.reduce_any([*known, _is_webp(encoded)])


@tf.function(
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def decode_other(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes what is no upright JPEG; a call of its own for the reason given in `exif`."""
    kinds = [JPEG, PNG, GIF, BMP]
    kind = tf.argmax([starts_with(encoded, kind) for kind in kinds] + [True])
    return tf.switch_case(
        tf.cast(kind, tf.int32),
        [
            lambda: _decode_turned_jpeg(encoded),
            lambda: _decode_png(encoded),
            lambda: _decode_gif(encoded),
            lambda: _decode_bmp(encoded),
            lambda: _decode_webp(encoded),
        ],
    )


def jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width of a JPEG, int32 (2,), read from its header.

    Raises:
        tf.errors.InvalidArgumentError: If it has none, or declares more than `MAX_PIXELS`.
    """
    return _allowed_size(tf.image.extract_jpeg_shape(encoded)[:2])


def _allowed_size(size):
    """Passes a width and height on unless they make too many pixels."""
    # In floating point, since the product of two damaged numbers can exceed 64 bits.
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))
    with tf.control_dependencies([tf.debugging.Assert(pixels <= MAX_PIXELS, [TOO_LARGE])]):
        return tf.identity(size)


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


def _decode_jpeg(encoded):
    with tf.control_dependencies([jpeg_size(encoded)]):
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_turned_jpeg(encoded):
    return turn_upright(_decode_jpeg(encoded), exif_orientation(encoded))


def _decode_png(encoded):
    with tf.control_dependencies([_allowed_size(two_numbers_at(encoded, 16, 4, big_endian=True))]):
        return tf.io.decode_png(encoded, channels=3)


def _decode_gif(encoded):
    """Decodes the first frame alone: the decoder would unpack all of them to give one."""

    def end_of_table(position, flags):
        """Where a table of colours ends, if the flags announce one."""
        return position + tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def end_of_chain(position):
        """Where a chain of blocks ends: each opens with its length, and the last is empty."""

        def step(position, _):
            size = bytes_at(encoded, position, 1)[0]
            return position + 1 + size, size

        length = tf.strings.length(encoded)
        return tf.while_loop(
            lambda position, size: (size > 0) & (position < length), step, (position, 1)
        )[0]

    # Extensions may stand before the frame: "!", a label, and a chain of blocks.
    (frame,) = tf.while_loop(
        lambda position: bytes_at(encoded, position, 1)[0] == ord("!"),
        lambda position: [end_of_chain(position + 2)],
        [end_of_table(13, bytes_at(encoded, 10, 1)[0])],
    )
    # A frame opens with 10 bytes, a table of colours and one byte more.
    end = end_of_chain(end_of_table(frame + 10, bytes_at(encoded, frame + 9, 1)[0]) + 1)
    alone = tf.strings.join([substring(encoded, 0, end), b";"])
    sizes = [_allowed_size(two_numbers_at(encoded, at, 2)) for at in (6, frame + 5)]
    with tf.control_dependencies(sizes):
        return tf.io.decode_image(alone, channels=3, expand_animations=False)


def _decode_webp(encoded):
    flags_at = 20
    with tf.control_dependencies([tf.debugging.Assert(_is_webp(encoded), [NO_IMAGE])]):
        kind = substring(encoded, 12, 4)
    # Lossy: 14 bits each at 26; lossless: 14 bits each, less 1, from 21 on; extended: 24 bits each,
    # less 1, at 24.
    bits = two_numbers_at(encoded, 21, 4)[0]
    size = tf.where(
        kind == b"VP8X",
        two_numbers_at(encoded, 24, 3) + 1,
        tf.where(
            kind == b"VP8L",
            tf.stack([bits, bits // 2**14]) % 2**14 + 1,
            two_numbers_at(encoded, 26, 2) % 2**14,
        ),
    )
    # TensorFlow 2.21 writes four channels of an animation into a buffer of three when the file
    # declares no alpha, which corrupts the heap. The flags "animation, alpha" prevent that.
    is_animation = (kind == b"VP8X") & (bytes_at(encoded, flags_at, 1)[0] // 2 % 2 == 1)
    with_alpha = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, flags_at),
            b"\x12",
            substring(encoded, flags_at + 1, tf.strings.length(encoded)),
        ]
    )
    with tf.control_dependencies([_allowed_size(size)]):
        # channels=3 would refuse images with alpha.
        image = tf.io.decode_image(
            tf.where(is_animation, with_alpha, encoded), channels=0, expand_animations=False
        )
    return tf.ensure_shape(image, (None, None, None))[..., :3]


def _decode_bmp(encoded):
    """Decodes uncompressed BMP of 1, 4, 8, 24 or 32 bits.

    TensorFlow's own operation takes palette indices for grey levels and refuses padded files.
    """
    header = bytes_at(encoded, 0, 66)

    def number(position, count):
        digits = header[position : position + count]
        return tf.reduce_sum(digits * [256**i for i in range(count)])

    data_at, header_size = number(10, 4), number(14, 4)
    width, height = number(18, 4), number(22, 4)
    bits, compression, colors = number(28, 2), number(30, 4), number(46, 4)
    blue_green_red = tf.reduce_all(header[54:66] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    usual = (
        (header_size >= 40)
        & tf.reduce_any(bits == [1, 4, 8, 24, 32])
        & ((compression == 0) | ((compression == 3) & (bits == 32) & blue_green_red))
    )
    top_down = height < 0
    height = tf.abs(height)
    row_size = (width * bits + 31) // 32 * 4
    checks = [tf.debugging.Assert(usual, [UNUSUAL_BMP]), _allowed_size([width, height])]
    with tf.control_dependencies(checks):
        data = substring(encoded, data_at, row_size * height)
    rows = tf.reshape(tf.io.decode_raw(data, tf.uint8), tf.stack([height, row_size]))
    rows = tf.cond(top_down, lambda: rows, lambda: rows[::-1])

    def from_palette():
        number_of_colors = tf.where(colors == 0, 2 ** tf.minimum(bits, 8), colors)
        palette = substring(encoded, 14 + header_size, 4 * number_of_colors)
        palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))
        shifts = tf.range(8 - bits, -1, -bits)
        indices = tf.cast(rows, tf.int32)[..., tf.newaxis] // 2**shifts % 2**bits
        indices = tf.reshape(indices, tf.stack([height, -1]))[:, :width]
        return tf.gather(palette, indices)[..., 2::-1]

    def from_pixels():
        channels = bits // 8
        pixels = rows[:, : width * channels]
        return tf.reshape(pixels, tf.stack([height, width, channels]))[..., 2::-1]

    return tf.cond(bits <= 8, from_palette, from_pixels)


def _is_webp(encoded):
    return starts_with(encoded, b"RIFF") & (substring(encoded, 8, 4) == b"WEBP")
