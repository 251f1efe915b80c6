"""The first frame of a GIF at its place on the canvas, as Pillow sees it."""

import tensorflow as tf

from dc_keras.data.pixels.alpha import on_white
from dc_keras.data.pixels.calls import ENCODED, NUMBER, call_of_its_own
from dc_keras.data.pixels.file_bytes import bytes_at, substring, two_numbers_at
from dc_keras.data.pixels.limits import allowed_size

_EXTENSION, _FRAME = ord("!"), ord(",")
_GRAPHIC_CONTROL = 0xF9
_INTERLACED = 0x40
# A table of colours in which each colour is its own number.
_NUMBERS = bytes(number for number in range(256) for _ in range(3))
_NO_NUMBER = 256


@call_of_its_own(ENCODED, NUMBER)
def decode_gif(encoded: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame alone: the decoder would unpack all of them to give one.

    What surrounds a frame that is smaller than the canvas is transparent, or has the first colour
    of the table where no colour is transparent.

    Args:
        encoded: The bytes of a GIF, scalar string.
        max_pixels: How many it may have, scalar int32.

    Returns:
        uint8 (h, w, 3): the size of the canvas, or more where the frame reaches beyond it.
    """
    frame, transparent = _first_frame(encoded)
    corner, size = (two_numbers_at(encoded, frame + at, 2) for at in (1, 5))
    canvas = allowed_size(tf.maximum(two_numbers_at(encoded, 6, 2), corner + size), max_pixels)
    has_frame = tf.debugging.Assert(bytes_at(encoded, frame, 1)[0] == _FRAME, ["no frame"])
    with tf.control_dependencies([has_frame, allowed_size(size, max_pixels), canvas]):
        numbers = _numbers_of_colors(encoded, frame)
    surrounding = tf.where(transparent == _NO_NUMBER, 0, transparent)
    (left, top), (right, bottom) = tf.unstack(corner), tf.unstack(canvas - corner - size)
    numbers = tf.pad(
        tf.cast(numbers, tf.int32),
        [[top, bottom], [left, right]],
        constant_values=surrounding,
    )
    colors = _colors(encoded, frame)
    opacity = tf.where(tf.range(256) == transparent, 0, 255)
    table = on_white(tf.concat([colors, tf.cast(opacity, tf.uint8)[:, tf.newaxis]], 1))
    return tf.gather(table, numbers)


def _first_frame(encoded):
    """Where the first frame begins, and which colour of it is transparent, or 256."""

    def skip(position, transparent):
        """Extensions may stand before the frame: "!", a label, and a chain of blocks."""
        extension = bytes_at(encoded, position, 7)
        is_control = (extension[1] == _GRAPHIC_CONTROL) & (extension[2] >= 4)
        tells = is_control & (extension[3] % 2 == 1)
        return _end_of_chain(encoded, position + 2), tf.where(tells, extension[6], transparent)

    return tf.while_loop(
        lambda position, _: bytes_at(encoded, position, 1)[0] == _EXTENSION,
        skip,
        (_end_of_table(13, bytes_at(encoded, 10, 1)[0]), _NO_NUMBER),
    )


def _numbers_of_colors(encoded, frame):
    """The number of each pixel's colour, uint8 (h, w).

    The frame becomes a file of its own, without a transparent colour, in which the colour of a
    number is the number: TensorFlow gives transparent pixels as black, and no table.
    """
    # A frame opens with 10 bytes, a table of colours and one byte more.
    sides, flags = substring(encoded, frame + 5, 4), bytes_at(encoded, frame + 9, 1)[0]
    pixels = _end_of_table(frame + 10, flags)
    interlaced = tf.where(flags // _INTERLACED % 2 == 1, b"\xc7", b"\x87")
    alone = [b"GIF89a", sides, b"\0\0\0,\0\0\0\0", sides, interlaced, _NUMBERS]
    data = substring(encoded, pixels, _end_of_chain(encoded, pixels + 1) - pixels)
    file = tf.strings.join([*alone, data, b";"])
    return tf.ensure_shape(tf.io.decode_gif(file), (1, None, None, 3))[0, ..., 0]


def _colors(encoded, frame):
    """The frame's colours, uint8 (256, 3): its own table, that of the file, or greys."""
    own, shared = bytes_at(encoded, frame + 9, 1)[0], bytes_at(encoded, 10, 1)[0]
    position = tf.where(own >= 128, frame + 10, 13)
    flags = tf.where(own >= 128, own, shared)
    size = _end_of_table(0, flags)
    # Numbers beyond the table are greys, as in Pillow.
    table = substring(encoded, position, size)
    rest = substring(tf.constant(_NUMBERS), tf.strings.length(table), 768)
    return tf.reshape(tf.io.decode_raw(tf.strings.join([table, rest]), tf.uint8), (256, 3))


def _end_of_table(position, flags):
    """Where a table of colours ends, if the flags announce one."""
    return position + tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)


def _end_of_chain(encoded, position):
    """Where a chain of blocks ends: each opens with its length, and the last is empty."""

    def step(position, _):
        size = bytes_at(encoded, position, 1)[0]
        return position + 1 + size, size

    length = tf.strings.length(encoded)
    return tf.while_loop(
        lambda position, size: (size > 0) & (position < length), step, (position, 1)
    )[0]
