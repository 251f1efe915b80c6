"""From an encoded image to the uint8 crop that the network sees.

Clustering, evaluation and serving see `preprocess_for_clustering`: the central crop of the public
transform Resize(256), CenterCrop(224), scaled to any size. Training sees `augment`: a random
resized crop and a flip, drawn by the law of torchvision and reproducible from a seed. Normalisation
and Sobel filters are part of the network, so crops stay uint8.

Everything here is made of TensorFlow operations without state, and runs eagerly, in tf.data and in
an exported model. JPEG is decoded with the accurate DCT, which gives the pixels that Pillow gives.

Of a JPEG only what lies under the crop is decoded, and large ones at a half, quarter or eighth of
their size, which costs libjpeg less: so that the crop is still reduced to half or less by the
antialiased resizing behind it, which hides the difference. Photographs of ImageNet's size are
decoded at their full size always.
"""

import math

import tensorflow as tf

RESIZE_TO_CROP = 256 / 224
CROP_TRIES = 10
RATIOS = (3 / 4, 4 / 3)

# Denominators by which libjpeg can reduce an image while it decodes.
_REDUCTIONS = (1, 2, 4, 8)
# What is left for the resizing behind it, at least: Pillow's `reducing_gap` of 2.
_REDUCTION_LEFT = 2
# Beyond the pixels that are used: the colours of pixels at the border of what is decoded are
# interpolated from neighbours that are not there.
_BORDER = 2

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
        lambda: _decode_any(encoded),
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
        return tf.cond(has_exif, lambda: _exif_orientation(encoded) == 1, lambda: True)

    # JFIF's segment of 16 bytes, behind which tables follow and no Exif.
    plain = _starts_with(encoded, JPEG + b"\xe0\x00\x10") & (_substr(encoded, 20, 2) == b"\xff\xdb")
    unusual = ~plain & _starts_with(encoded, JPEG)
    return plain | tf.cond(unusual, has_no_turn, lambda: False)


def has_known_start(encoded: tf.Tensor) -> tf.Tensor:
    """Whether bytes start like a file of a format that is read, scalar bool.

    Args:
        encoded: Scalar string tensor.
    """
    known = [_starts_with(encoded, start) for start in (JPEG, PNG, GIF, BMP)]
    return tf.reduce_any([*known, _is_webp(encoded)])


def preprocess_for_clustering(encoded: tf.Tensor, image_size: int) -> tf.Tensor:
    """The one way in which images are prepared for clustering, evaluation and serving.

    Args:
        encoded: What `decode` takes.
        image_size: Side s of the crop in pixels.

    Returns:
        uint8 (s, s, 3).
    """
    if encoded.dtype == tf.uint8:
        return center_crop(encoded, image_size)

    def crop_of_jpeg():
        size = jpeg_size(encoded)
        scale, offset = _center_of(size, image_size)
        # An eighth, say, has the eighth part of the pixels, the last of which may be cut.
        reduction = _reduction(1 / scale)
        scale *= tf.cast(reduction, tf.float32)
        begin, end = _part_under_crop(-(-size // reduction), scale, offset, image_size)
        part = _decode_window(encoded, tf.concat([begin, end - begin], 0), reduction)
        return _resize(part[tf.newaxis], image_size, scale, _shift(begin, scale, offset))[0]

    return tf.cond(
        is_upright_jpeg(encoded),
        crop_of_jpeg,
        lambda: center_crop(_decode_any(encoded), image_size),
    )


def center_crop(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes the shorter side and takes the central square.

    The shorter side becomes round(s * 256 / 224) when it is longer than s, else s; bilinear with
    antialiasing, rounded to uint8. Equal to torchvision's Resize and CenterCrop on Pillow images to
    within 1 of 255: Pillow rounds between its two passes.

    Args:
        image: uint8 (h, w, 3).
        image_size: Side s of the crop in pixels.

    Returns:
        uint8 (s, s, 3). Memory: the part of the image under the crop, as float32, at most.
    """
    return tf.squeeze(center_crop_batch(image[tf.newaxis], image_size), 0)


def center_crop_batch(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """`center_crop` of a batch of images of one size.

    Args:
        images: uint8 (n, h, w, 3).
        image_size: Side s of the crops in pixels.

    Returns:
        uint8 (n, s, s, 3).
    """
    size = tf.shape(images)[1:3]
    scale, offset = _center_of(size, image_size)
    begin, end = _part_under_crop(size, scale, offset, image_size)
    part = images[:, begin[0] : end[0], begin[1] : end[1]]
    return _resize(part, image_size, scale, _shift(begin, scale, offset))


def _center_of(size, image_size):
    """Factors that an image of this size is resized by, and where the crop of the result begins."""
    shorter = tf.reduce_min(size)
    target = tf.where(shorter > image_size, round(image_size * RESIZE_TO_CROP), image_size)
    # As torchvision: the longer side is cut to an integer.
    sides = size * target // shorter
    scale = tf.cast(sides, tf.float32) / tf.cast(size, tf.float32)
    return scale, tf.round(tf.cast(sides - image_size, tf.float32) / 2)


def _part_under_crop(size, scale, offset, image_size):
    """Where the pixels begin and end that the crop is made of.

    Only these are decoded and resized, and the resizing itself cuts the square out: a banner of
    10,000 x 3 pixels must not grow to 750,000 x 224. The triangle filter reaches
    max(1, 1 / scale) pixels beyond; one more makes up for rounding.
    """
    margin = tf.maximum(1.0, 1 / scale) + 1 + _BORDER
    begin = tf.cast(tf.maximum(offset / scale - margin, 0), tf.int32)
    end = tf.cast(tf.math.ceil((offset + image_size) / scale + margin), tf.int32)
    return begin, tf.minimum(end, size)


def _shift(begin, scale, offset):
    return tf.cast(begin, tf.float32) * scale - offset


def augment(
    encoded: tf.Tensor,
    seed: tf.Tensor,
    *,
    image_size: int,
    min_area: float = 0.08,
    hflip: bool = True,
) -> tf.Tensor:
    """Random resized crop and horizontal flip, as torchvision's, for a training image.

    Of a JPEG only the crop is decoded.

    Args:
        encoded: What `decode` takes.
        seed: int32 or int64 (2,). The same seed gives the same crop.
        image_size: Side s of the crop in pixels.
        min_area: Smallest area of the crop, as a fraction of the image.
        hflip: Whether to mirror half of the crops.

    Returns:
        uint8 (s, s, 3).
    """
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 3], seed)

    def crop_of_pixels(image):
        shape = tf.shape(image)
        y, x, height, width = _crop_window(shape[0], shape[1], uniforms, min_area)
        return _resize_all(image[y : y + height, x : x + width], image_size)

    def crop_of_jpeg():
        shape = jpeg_size(encoded)
        window = tf.stack(_crop_window(shape[0], shape[1], uniforms, min_area))
        begin, side = window[:2], window[2:]
        reduction = _reduction(tf.cast(side, tf.float32) / image_size)
        # What is decoded may begin and end with pixels that lie in the crop in part.
        first, end = begin // reduction, -(-(begin + side) // reduction)
        part = _decode_window(encoded, tf.concat([first, end - first], 0), reduction)
        scale = tf.cast(image_size * reduction, tf.float32) / tf.cast(side, tf.float32)
        shift = tf.cast(first, tf.float32) - tf.cast(begin, tf.float32) / tf.cast(
            reduction, tf.float32
        )
        return _resize(part[tf.newaxis], image_size, scale, shift * scale)[0]

    if encoded.dtype == tf.uint8:
        image = crop_of_pixels(encoded)
    else:
        image = tf.cond(
            is_upright_jpeg(encoded),
            crop_of_jpeg,
            lambda: crop_of_pixels(_decode_any(encoded)),
        )
    if hflip:
        # A slice with step -1 and tf.where would take longer than decoding.
        image = tf.cond(uniforms[-1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    return image


def draw_crop_window(
    height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor, min_area: float = 0.08
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws the window of a random resized crop by the law of torchvision's RandomResizedCrop.

    Ten times an area, uniform in [min_area, 1] of the image, and an aspect ratio, log-uniform in
    [3/4, 4/3]; the first pair that fits is placed uniformly. If none fits: the largest central
    window whose ratio is within those limits.

    Args:
        height: Scalar int32, height of the image.
        width: Scalar int32, width of the image.
        seed: int32 or int64 (2,).
        min_area: Smallest area as a fraction of the image.

    Returns:
        Scalars int32 (y, x, height, width) of the window, which lies inside the image.
    """
    uniforms = tf.random.stateless_uniform([2 * CROP_TRIES + 2], seed)
    return _crop_window(height, width, uniforms, min_area)


# Kept as a call of its own in the graph: merged into the branches above, its operations would be
# visited for every image, only to be skipped.
@tf.function(
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _exif_orientation(encoded):
    """The Exif orientation, 1 to 8; 1 (upright) where there is none or it is damaged.

    Walks the segments of a JPEG to the Exif one and looks the tag up in its directory.
    """

    # The application segments (FFE0 to FFEF) and comments (FFFE) open the file: two bytes of
    # marker, two of length, which counts itself, and data.
    def step(position, _):
        segment = _bytes(encoded, position, 10)
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

    # What follows is a TIFF header: the byte order (II or MM), 42, and the position of the
    # directory, a count with entries of 12 bytes: tag, type, number of values, value.
    tiff = position + 10
    little_endian = _bytes(encoded, tiff, 1)[0] == ord("I")

    def number(digits):
        digits = tf.where(little_endian, digits[..., ::-1], digits)
        return tf.reduce_sum(digits * [256**i for i in reversed(range(digits.shape[-1]))], -1)

    # Damaged Exif may point anywhere, so positions are bounded.
    directory = tiff + tf.clip_by_value(number(_bytes(encoded, tiff + 4, 4)), 0, 1 << 16)
    count = number(_bytes(encoded, directory, 2))
    entries = tf.reshape(_bytes(encoded, directory + 2, 12 * count), (-1, 12))
    values = tf.where(number(entries[:, :2]) == 0x0112, number(entries[:, 8:10]), 0)
    orientation = tf.reduce_max(tf.concat([[0], values], 0))
    return tf.where(found & (orientation >= 1) & (orientation <= 8), orientation, 1)


def _bytes(encoded, position, count):
    """`count` bytes as int32, padded with zeros beyond the end."""
    values = tf.io.decode_raw(_substr(encoded, position, count), tf.uint8)
    values = tf.pad(tf.cast(values, tf.int32), [[0, count - tf.size(values)]])
    return tf.ensure_shape(values, [count if isinstance(count, int) else None])


def _numbers(encoded, position, size, *, big_endian=False):
    """Two numbers of `size` bytes each, int64."""
    digits = tf.reshape(_bytes(encoded, position, 2 * size), (2, size))
    digits = digits[:, ::-1] if big_endian else digits
    return tf.reduce_sum(tf.cast(digits, tf.int64) * [256**place for place in range(size)], -1)


def _turn_upright(image, orientation):
    """Exchanges rows and columns where the orientation is 5 or more, then flips."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    flips_rows = tf.reduce_any(orientation == [3, 4, 7, 8])
    flips_columns = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack([flips_rows, flips_columns])))


@tf.function(
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _decode_any(encoded):
    """Decodes what is no upright JPEG; a call of its own for the reason above."""
    kinds = [JPEG, PNG, GIF, BMP]
    kind = tf.argmax([_starts_with(encoded, kind) for kind in kinds] + [True])
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


def _reduction(factors):
    """The largest of `_REDUCTIONS` that leaves enough to the resizing.

    Args:
        factors: How much smaller each side becomes, float32 (2,).

    Returns:
        Scalar int32.
    """
    enough = tf.reduce_min(factors) >= [float(_REDUCTION_LEFT * r) for r in _REDUCTIONS[1:]]
    return 2 ** tf.reduce_sum(tf.cast(enough, tf.int32))


def _decode_window(encoded, window, reduction):
    """Decodes a part of a JPEG; the window (y, x, height, width) counts pixels when reduced."""

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
    return _turn_upright(_decode_jpeg(encoded), _exif_orientation(encoded))


def _decode_png(encoded):
    with tf.control_dependencies([_allowed_size(_numbers(encoded, 16, 4, big_endian=True))]):
        return tf.io.decode_png(encoded, channels=3)


def _decode_gif(encoded):
    """Decodes the first frame alone: the decoder would unpack all of them to give one."""

    def end_of_table(position, flags):
        """Where a table of colours ends, if the flags announce one."""
        return position + tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def end_of_chain(position):
        """Where a chain of blocks ends: each opens with its length, and the last is empty."""

        def step(position, _):
            size = _bytes(encoded, position, 1)[0]
            return position + 1 + size, size

        length = tf.strings.length(encoded)
        return tf.while_loop(
            lambda position, size: (size > 0) & (position < length), step, (position, 1)
        )[0]

    # Extensions may stand before the frame: "!", a label, and a chain of blocks.
    (frame,) = tf.while_loop(
        lambda position: _bytes(encoded, position, 1)[0] == ord("!"),
        lambda position: [end_of_chain(position + 2)],
        [end_of_table(13, _bytes(encoded, 10, 1)[0])],
    )
    # A frame opens with 10 bytes, a table of colours and one byte more.
    end = end_of_chain(end_of_table(frame + 10, _bytes(encoded, frame + 9, 1)[0]) + 1)
    alone = tf.strings.join([_substr(encoded, 0, end), b";"])
    sizes = [_allowed_size(_numbers(encoded, at, 2)) for at in (6, frame + 5)]
    with tf.control_dependencies(sizes):
        return tf.io.decode_image(alone, channels=3, expand_animations=False)


def _decode_webp(encoded):
    flags_at = 20
    with tf.control_dependencies([tf.debugging.Assert(_is_webp(encoded), [NO_IMAGE])]):
        kind = _substr(encoded, 12, 4)
    # Lossy: 14 bits each at 26; lossless: 14 bits each, less 1, from 21 on; extended: 24 bits each,
    # less 1, at 24.
    bits = _numbers(encoded, 21, 4)[0]
    size = tf.where(
        kind == b"VP8X",
        _numbers(encoded, 24, 3) + 1,
        tf.where(
            kind == b"VP8L",
            tf.stack([bits, bits // 2**14]) % 2**14 + 1,
            _numbers(encoded, 26, 2) % 2**14,
        ),
    )
    # TensorFlow 2.21 writes four channels of an animation into a buffer of three when the file
    # declares no alpha, which corrupts the heap. The flags "animation, alpha" prevent that.
    is_animation = (kind == b"VP8X") & (_bytes(encoded, flags_at, 1)[0] // 2 % 2 == 1)
    with_alpha = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, flags_at),
            b"\x12",
            _substr(encoded, flags_at + 1, tf.strings.length(encoded)),
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
    header = _bytes(encoded, 0, 66)

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
        data = _substr(encoded, data_at, row_size * height)
    rows = tf.reshape(tf.io.decode_raw(data, tf.uint8), tf.stack([height, row_size]))
    rows = tf.cond(top_down, lambda: rows, lambda: rows[::-1])

    def from_palette():
        number_of_colors = tf.where(colors == 0, 2 ** tf.minimum(bits, 8), colors)
        palette = _substr(encoded, 14 + header_size, 4 * number_of_colors)
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


def _substr(encoded, position, count):
    """`tf.strings.substr` that gives an empty string beyond the end and not an error."""
    position = tf.clip_by_value(position, 0, tf.strings.length(encoded))
    return tf.strings.substr(encoded, position, tf.maximum(count, 0))


def _starts_with(encoded, start):
    return tf.strings.substr(encoded, 0, len(start)) == start


def _is_webp(encoded):
    return _starts_with(encoded, b"RIFF") & (_substr(encoded, 8, 4) == b"WEBP")


def _crop_window(height, width, uniforms, min_area):
    size = tf.cast(tf.stack([height, width]), tf.float32)
    area = tf.reduce_prod(size) * (min_area + (1 - min_area) * uniforms[:CROP_TRIES])
    low, high = (math.log(ratio) for ratio in RATIOS)
    # Of a ratio r the sides are sqrt(area / r) and sqrt(area * r).
    log_ratio = low + (high - low) * uniforms[CROP_TRIES : 2 * CROP_TRIES]
    sides = tf.sqrt(area[:, tf.newaxis] * tf.exp(log_ratio[:, tf.newaxis] * [-1.0, 1.0]))
    sides = tf.round(sides)
    fits = tf.reduce_all((sides > 0) & (sides <= size), 1)

    # The last entry always fits: the central window of the nearest ratio.
    central = tf.minimum(size, tf.round(size[::-1] * RATIOS[1]))
    first = tf.argmax(tf.concat([fits, [True]], 0))
    side = tf.gather(tf.concat([sides, central[tf.newaxis]], 0), first)

    free = size - side
    random = uniforms[2 * CROP_TRIES : 2 * CROP_TRIES + 2]
    # A product with a number just below 1 can round up to the bound, hence the minimum.
    begin = tf.where(
        first == CROP_TRIES, free // 2, tf.minimum(tf.floor(random * (free + 1)), free)
    )
    return tuple(tf.unstack(tf.cast(tf.concat([begin, side], 0), tf.int32)))


def _resize_all(image, image_size):
    """Resizes a whole image; uint8 (s, s, 3)."""
    scale = image_size / tf.cast(tf.shape(image)[:2], tf.float32)
    return _resize(image[tf.newaxis], image_size, scale, tf.zeros(2))[0]


def _resize(images, image_size, scale, translation):
    """Bilinear and antialiased, to uint8 (n, s, s, 3); `translation` is in pixels of the result.

    Columns are resized as rows of the transposed image, with all that lies in a row for channels:
    TensorFlow's operation handles three channels one number at a time, and many by vector
    instructions. For the same reason images are transposed as matrices, with a row for each colour
    of a column: three numbers at a time would take twenty times as long.
    """

    def resize_rows(matrices, axis):
        """From (n, length, m) to (n, image_size, m)."""
        count, length, across = tf.unstack(tf.shape(matrices))
        rows = tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(matrices, tf.stack([count, length, 1, across])),
            size=[image_size, 1],
            scale=tf.stack([scale[axis], 1.0]),
            translation=tf.stack([translation[axis], 0.0]),
            kernel_type="triangle",
            antialias=True,
        )
        return tf.squeeze(rows, 2)

    count, height, width, _ = tf.unstack(tf.shape(images))
    rows = resize_rows(tf.reshape(images, tf.stack([count, height, width * 3])), 0)
    columns = tf.reshape(tf.transpose(rows, (0, 2, 1)), tf.stack([count, width, 3 * image_size]))
    columns = tf.reshape(_rounded(resize_rows(columns, 1)), (-1, image_size * 3, image_size))
    rows = tf.transpose(columns, (0, 2, 1))
    return tf.reshape(rows, (-1, image_size, image_size, 3))


def _rounded(pixels):
    # Pillow rounds halves up.
    return tf.cast(pixels + 0.5, tf.uint8)
