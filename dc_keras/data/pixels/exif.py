"""The orientation that Exif or XMP gives an image, read and applied in TensorFlow operations."""

import tensorflow as tf

from dc_keras.data.pixels.calls import ENCODED, call_of_its_own
from dc_keras.data.pixels.file_bytes import bytes_at, contains, find_chunk, substring

_UPRIGHT, _UNKNOWN = 1, 0
_HAS_EXIF, _HAS_XMP = 0x08, 0x04
_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_XMP = r'tiff:Orientation(?:="|>)([0-9])'
_PROFILE = r"Raw profile type exif\x00"
# What a PNG contains that may be turned.
PNG_SIGNS = rf"eXIf|{_PROFILE}|{_XMP}"


@call_of_its_own(ENCODED)
def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The Exif orientation of a JPEG, 1 to 8; 1 (upright) where there is none or it is damaged.

    Walks the segments to the Exif one and looks the tag up in its directory.
    """

    # The application segments (FFE0 to FFEF) and comments (FFFE) open the file: two bytes of
    # marker, two of length, which counts itself, and data.
    def step(position, _):
        segment = bytes_at(encoded, position, 10)
        is_exif = tf.reduce_all(segment[4:] == [*b"Exif\0\0"]) & (segment[1] == 0xE1)
        is_opening = (segment[0] == 0xFF) & ((segment[1] // 16 == 0xE) | (segment[1] == 0xFE))
        following = position + 2 + segment[2] * 256 + segment[3]
        length = tf.strings.length(encoded)
        return tf.where(is_exif, position, tf.where(is_opening, following, length)), is_exif

    position, found = tf.while_loop(
        lambda position, found: ~found & (position < tf.strings.length(encoded)),
        step,
        (2, tf.constant(False)),
    )
    tiff = substring(encoded, position + 10, tf.strings.length(encoded))
    return tf.where(found, _upright_if_unknown(tiff_orientation(tiff)), _UPRIGHT)


def png_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The orientation of a PNG, 1 to 8.

    It is looked for where Pillow looks: in the chunk of Exif, which may stand behind the pixels, in
    the text that ImageMagick wrote before there was such a chunk, and in XMP.

    Args:
        encoded: Scalar string.
    """
    return tf.cond(contains(encoded, PNG_SIGNS), lambda: _told_by_png(encoded), lambda: _UPRIGHT)


def webp_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The orientation of a WebP with the extended header, 1 to 8.

    Args:
        encoded: Scalar string.
    """
    return tf.cond(
        (substring(encoded, 12, 4) == b"VP8X") & (bytes_at(encoded, 20, 1)[0] % 16 >= _HAS_XMP),
        lambda: _told_by_webp(encoded),
        lambda: _UPRIGHT,
    )


def tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF file, which Exif is; 0 where there is none.

    Args:
        tiff: Scalar string: the byte order (II or MM), 42, and the position of the directory, a
            count with entries of 12 bytes: tag, type, number of values, value.
    """
    little_endian = bytes_at(tiff, 0, 1)[0] == ord("I")

    def number(digits):
        digits = tf.where(little_endian, digits[..., ::-1], digits)
        return tf.reduce_sum(digits * [256**i for i in reversed(range(digits.shape[-1]))], -1)

    # Damaged Exif may point anywhere, so positions are bounded.
    directory = tf.clip_by_value(number(bytes_at(tiff, 4, 4)), 0, 1 << 16)
    count = number(bytes_at(tiff, directory, 2))
    entries = tf.reshape(bytes_at(tiff, directory + 2, 12 * count), (-1, 12))
    kind = number(entries[:, 2:4])
    values = tf.where(kind == _LONG, number(entries[:, 8:12]), number(entries[:, 8:10]))
    told = (number(entries[:, :2]) == _ORIENTATION) & ((kind == _SHORT) | (kind == _LONG))
    return tf.reduce_max(tf.concat([[_UNKNOWN], tf.where(told, values, _UNKNOWN)], 0))


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Exchanges rows and columns where the orientation is 5 or more, then flips."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    flips_rows = tf.reduce_any(orientation == [3, 4, 7, 8])
    flips_columns = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack([flips_rows, flips_columns])))


@call_of_its_own(ENCODED)
def _told_by_png(encoded):
    exif = find_chunk(encoded, b"eXIf", riff=False)
    exif = tf.cond(exif == b"", lambda: _png_profile(encoded), lambda: exif)
    return _orientation_of(exif, encoded)


@call_of_its_own(ENCODED)
def _told_by_webp(encoded):
    flags = bytes_at(encoded, 20, 1)[0]

    def chunk(kind, flag):
        return tf.cond(
            flags // flag % 2 == 1, lambda: find_chunk(encoded, kind, riff=True), lambda: b""
        )

    return _orientation_of(chunk(b"EXIF", _HAS_EXIF), chunk(b"XMP ", _HAS_XMP))


def _orientation_of(exif, xmp):
    """Of Exif, with or without the letters that JPEGs put before it; else of XMP."""
    tiff = tf.strings.regex_replace(exif, r"\A(?:Exif\x00\x00)+", "")
    told = tiff_orientation(tiff)
    return _upright_if_unknown(
        tf.cond(told == _UNKNOWN, lambda: _xmp_orientation(xmp), lambda: told)
    )


def _xmp_orientation(text):
    """What the first attribute or element of that name says; 0 where there is none."""
    digit = tf.strings.regex_replace(text, rf"(?s)\A\C*?{_XMP}\C*\z", r"\1", replace_global=False)
    return tf.where(contains(text, _XMP), bytes_at(digit, 0, 1)[0] - ord("0"), _UNKNOWN)


def _png_profile(encoded):
    """Exif that stands in a PNG as a text of hexadecimal digits, perhaps compressed."""
    keyword = rf"\A{_PROFILE}"

    def data(kind):
        text = find_chunk(encoded, kind, riff=False)
        is_profile = tf.strings.regex_full_match(text, rf"(?s){keyword}\C*")
        return tf.where(is_profile, tf.strings.regex_replace(text, keyword, ""), b"")

    plain, packed = data(b"tEXt"), data(b"zTXt")
    # Packed, a byte names the method, of which there is one.
    unpacked = tf.cond(
        packed == b"",
        lambda: plain,
        lambda: tf.io.decode_compressed(substring(packed, 1, 1 << 30), "ZLIB"),
    )
    # Behind an empty line stand the name and the length, each on a line.
    digits = tf.strings.regex_replace(unpacked, r"\A[^\n]*\n[^\n]*\n[^\n]*\n", "")
    digits = tf.strings.regex_replace(digits, r"[^0-9A-Fa-f]", "")
    values = tf.cast(tf.io.decode_raw(tf.strings.lower(digits), tf.uint8), tf.int32)
    values = tf.where(values >= ord("a"), values - ord("a") + 10, values - ord("0"))
    values = tf.reshape(values[: tf.size(values) // 2 * 2], (-1, 2))
    letters = tf.gather(_BYTES, values[:, 0] * 16 + values[:, 1])
    return tf.strings.reduce_join(letters)


_BYTES = [bytes([value]) for value in range(256)]


def _upright_if_unknown(orientation):
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, _UPRIGHT)
