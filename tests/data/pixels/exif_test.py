"""The orientation that Exif gives a JPEG."""

import numpy as np
import pytest

from dc_keras.data.pixels.decoding import decode
from encoded_images import FILES, both_ways, both_ways_each, pillow


@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_exif_orientation_is_applied(byte_order):
    files = [with_exif(tiff(orientation, byte_order)) for orientation in range(1, 9)]
    for encoded, decoded in zip(files, both_ways_each(decode, files), strict=True):
        np.testing.assert_array_equal(decoded, pillow(encoded))


def tiff(orientation, byte_order="II", offset=8):
    """A TIFF directory of three tags with the orientation in the middle."""
    order = {"II": "little", "MM": "big"}[byte_order]

    def number(value, size):
        return value.to_bytes(size, order)

    def entry(tag, value):
        return number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + bytes(2)

    head = byte_order.encode() + number(42, 2) + number(offset, 4) + bytes(offset - 8)
    entries = entry(0x0100, 50) + entry(0x0112, orientation) + entry(0x011A, 7)
    return head + number(3, 2) + entries + bytes(4)


def with_exif(data, before=b""):
    """The JPEG without its own opening segment, with an Exif segment after `before`."""
    jpeg = FILES["jpeg"]
    body = jpeg[4 + int.from_bytes(jpeg[4:6]) :]
    payload = b"Exif\0\0" + data
    return b"\xff\xd8" + before + b"\xff\xe1" + (len(payload) + 2).to_bytes(2) + payload + body


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
    np.testing.assert_array_equal(decoded, np.rot90(pillow(FILES["jpeg"]), -1))


def test_damaged_exif_means_upright():
    damaged = [
        b"",
        b"II",
        tiff(6)[:20],
        tiff(0),
        tiff(9),
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\xff\xff\xff\x7f",
        b"MM\0*\0\0\0\x08\xff\xff",
    ]
    upright = pillow(FILES["jpeg"])
    for decoded in both_ways_each(decode, [with_exif(data) for data in damaged]):
        np.testing.assert_array_equal(decoded, upright)
