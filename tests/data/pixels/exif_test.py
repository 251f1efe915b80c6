"""The orientation that Exif gives an image, wherever Exif may lie."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import PngImagePlugin

from dc_keras.data.pixels.decoding import decode
from encoded_images import ALPHA, FILES, IMAGE, both_ways, both_ways_each, chunk, encode, pillow

UPRIGHT, UPRIGHT_PNG = pillow(FILES["jpeg"]), pillow(FILES["png"])


def tiff(orientation, byte_order="II", offset=8, kind=3):
    """A TIFF directory of three tags with the orientation in the middle."""
    order = {"II": "little", "MM": "big"}[byte_order]

    def number(value, size):
        return value.to_bytes(size, order)

    def entry(tag, value, kind=3):
        size = {1: 1, 3: 2, 4: 4}[kind]
        return number(tag, 2) + number(kind, 2) + number(1, 4) + number(value, size).ljust(4, b"\0")

    head = byte_order.encode() + number(42, 2) + number(offset, 4) + bytes(offset - 8)
    entries = entry(0x0100, 50) + entry(0x0112, orientation, kind) + entry(0x011A, 7)
    return head + number(3, 2) + entries + bytes(4)


def with_exif(data, before=b""):
    """The JPEG without its own opening segment, with an Exif segment after `before`."""
    jpeg = FILES["jpeg"]
    body = jpeg[4 + int.from_bytes(jpeg[4:6]) :]
    payload = b"Exif\0\0" + data
    return b"\xff\xd8" + before + b"\xff\xe1" + (len(payload) + 2).to_bytes(2) + payload + body


def png_with(kind, data, *, behind_pixels=False, name="png"):
    """A PNG with one chunk more, before or behind those of its pixels."""
    png = FILES[name]
    at = png.rindex(b"IEND") - 4 if behind_pixels else 33
    return png[:at] + chunk(kind, data) + png[at:]


def xmp(orientation, *, element=False):
    """A packet of XMP that says the orientation in one of its two ways."""
    said = f'tiff:Orientation="{orientation}"/>'
    if element:
        said = f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
    return f"<x:xmpmeta><rdf:RDF><rdf:Description {said}</rdf:RDF></x:xmpmeta>".encode()


def png_with_xmp(orientation, *, element=False):
    return png_with(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp(orientation, element=element))


def png_with_profile(data, *, packed):
    """Exif as ImageMagick wrote it: a text of hexadecimal digits."""
    digits = "\n".join(data.hex()[at : at + 72] for at in range(0, 2 * len(data), 72))
    text = f"\nexif\n{len(data):8d}\n{digits}\n"
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", text, zip=packed)
    return encode(IMAGE, "PNG", pnginfo=info)


@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_exif_orientation_is_applied(byte_order):
    files = [with_exif(tiff(orientation, byte_order)) for orientation in range(1, 9)]
    for encoded, decoded in zip(files, both_ways_each(decode, files), strict=True):
        np.testing.assert_array_equal(decoded, pillow(encoded))


@pytest.mark.parametrize(
    "before",
    [
        b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
        b"\xff\xfe\x00\x08Exif\0\0",
        b"\xff\xe1\x00\x09http:/\0" + b"\xff\xe2\x20\x02" + bytes(0x2000),
    ],
    ids=["after JFIF", "after a comment that says Exif", "after XMP and a colour profile"],
)
def test_exif_is_found_behind_other_segments(before):
    encoded = with_exif(tiff(6, offset=20), before)
    decoded = both_ways(decode, encoded)
    np.testing.assert_array_equal(decoded, np.rot90(UPRIGHT, -1))


DAMAGED = [
    b"",
    b"II",
    tiff(6)[:20],
    tiff(0),
    tiff(9),
    b"II*\0\xff\xff\xff\xff",
    b"II*\0\xff\xff\xff\x7f",
    b"MM\0*\0\0\0\x08\xff\xff",
]


def test_damaged_exif_means_upright():
    for decoded in both_ways_each(decode, [with_exif(data) for data in DAMAGED]):
        np.testing.assert_array_equal(decoded, UPRIGHT)


WAYS = {
    "png": lambda o: png_with(b"eXIf", tiff(o)),
    "png, big end first": lambda o: png_with(b"eXIf", tiff(o, "MM", offset=20)),
    "png, behind the pixels": lambda o: png_with(b"eXIf", tiff(o), behind_pixels=True),
    "png, with the letters of JPEG": lambda o: png_with(b"eXIf", b"Exif\0\0" + tiff(o)),
    "png, of 32 bits": lambda o: png_with(b"eXIf", tiff(o, "MM", kind=4)),
    "png, as text": lambda o: png_with_profile(b"Exif\0\0" + tiff(o), packed=False),
    "png, as packed text": lambda o: png_with_profile(b"Exif\0\0" + tiff(o), packed=True),
    "png, xmp": png_with_xmp,
    "png, xmp element": lambda o: png_with_xmp(o, element=True),
    "png, transparent": lambda o: png_with(b"eXIf", tiff(o), name="png alpha"),
    "webp": lambda o: encode(IMAGE, "WEBP", exif=tiff(o, "MM")),
    "webp, with the letters of JPEG": lambda o: encode(IMAGE, "WEBP", exif=b"Exif\0\0" + tiff(o)),
    "webp, transparent": lambda o: encode(ALPHA, "WEBP", lossless=True, exif=tiff(o)),
    "webp, with a colour profile": lambda o: encode(
        IMAGE, "WEBP", exif=tiff(o), icc_profile=b"odd".ljust(128, b"\1") + b"\2"
    ),
    "webp, xmp": lambda o: encode(IMAGE, "WEBP", xmp=xmp(o)),
    "webp, animated": lambda o: encode(
        IMAGE, "WEBP", exif=tiff(o), save_all=True, append_images=[IMAGE.rotate(90)]
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_eight_orientations_wherever_they_are_told(way):
    for orientation in range(1, 9):
        encoded = WAYS[way](orientation)
        decoded = decode(tf.constant(encoded)).numpy()
        np.testing.assert_array_equal(decoded, pillow(encoded), err_msg=str(orientation))
        # Pillow's own reading is tested with it.
        assert decoded.shape == ((50, 40, 3) if orientation >= 5 else (40, 50, 3))


def test_exif_is_asked_before_xmp():
    png = png_with_xmp(6)
    for orientation in (1, 3):
        encoded = png[:33] + chunk(b"eXIf", tiff(orientation)) + png[33:]
        np.testing.assert_array_equal(decode(tf.constant(encoded)), pillow(encoded))


def test_damaged_exif_of_png_and_webp_means_upright():
    files = [png_with(b"eXIf", data) for data in DAMAGED]
    files += [png_with_profile(data, packed=packed) for data in DAMAGED for packed in (False, True)]
    # Text that names what is not there, and an odd number of digits.
    files += [png_with(b"tEXt", b"Comment\0eXIf tiff:Orientation Raw profile type exif")]
    files += [png_with(b"tEXt", b"Raw profile type exif\0\nexif\n 3\nabc")]
    for encoded in files:
        np.testing.assert_array_equal(decode(tf.constant(encoded)), UPRIGHT_PNG)
    webp = pillow(encode(IMAGE, "WEBP"))
    for data in filter(None, DAMAGED):
        decoded = decode(tf.constant(encode(IMAGE, "WEBP", exif=data)))
        np.testing.assert_array_equal(decoded, webp)
