"""Kinds of files by name and by their first bytes."""

import io

import pytest
from PIL import Image

from dc_keras.data.sources import file_kinds
from encoded_images import ALPHA, FILES, IMAGE, encode


@pytest.mark.parametrize("name", FILES)
def test_what_is_decoded_is_known_by_its_start(name):
    kind = {"jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "gif": "GIF", "webp": "WebP"}
    assert file_kinds.kind_of_start(FILES[name][: file_kinds.START]) == kind[name.split()[0]]


@pytest.mark.parametrize(
    ("image", "pillow", "kind"),
    [
        (IMAGE, "TIFF", "TIFF"),
        (IMAGE, "PPM", "PPM"),
        (IMAGE.convert("L"), "PPM", "PPM"),
        (IMAGE.convert("1"), "PPM", "PPM"),
        (IMAGE, "JPEG2000", "JPEG 2000"),
        (ALPHA, "AVIF", "AVIF"),
    ],
)
def test_what_pillow_reads_is_known_by_its_start(image, pillow, kind):
    assert file_kinds.kind_of_start(encode(image, pillow)[: file_kinds.START]) == kind


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"", "empty file"),
        (b"path,label\n", "text or other file"),
        (b"BM is how this text begins", "text or other file"),
        (b"P3 is a player, too", "text or other file"),
        (b"P2\n# from a scanner\n4 4\n255\n", "PPM"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        # What lies behind the list of brands is no brand.
        (b"\0\0\0\x14ftypisom\0\0\0\0mp42avifheic", "video file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw file"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw file"),
        (b"RIFF\0\0\0\0AVI LIST", "video file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound file"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\1\0\1\0", "image of a kind that is not read"),
        (b"DDS \x7c\0\0\0", "image of a kind that is not read"),
    ],
)
def test_what_a_start_tells(start, kind):
    assert file_kinds.kind_of_start(start) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("labels.CSV", "text or other file"),
        ("IMG_1.dng", "camera raw file"),
        ("clip.mp4", "video file"),
        ("b.jpg?w=640", ""),
        ("c.jpg.1", ""),
        ("no_suffix", ""),
        ("x.jfif", ""),
    ],
)
def test_what_a_name_tells(name, kind):
    assert file_kinds.kind_of_name(name) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("@eaDir", "system folder"),
        ("#recycle", "system folder"),
        ("$RECYCLE.BIN", "system folder"),
        ("System Volume Information", "system folder"),
        ("lost+found", "system folder"),
        ("__MACOSX", "system folder"),
        ("Thumbs.db", "system file"),
        ("Desktop.ini", "system file"),
        ("recycling", ""),
        ("lost", ""),
    ],
)
def test_what_systems_leave_behind(name, kind):
    assert file_kinds.is_system(name) == kind


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("pages", "several"), [(1, False), (2, True)])
def test_pages_of_a_tiff_are_told(big, pages, several):
    others = [IMAGE.rotate(90)] * (pages - 1)
    encoded = encode(IMAGE, "TIFF", save_all=True, append_images=others, big_tiff=big)
    assert file_kinds.has_several_pages(io.BytesIO(encoded)) == several
    assert Image.open(io.BytesIO(encoded)).n_frames == pages


@pytest.mark.parametrize("encoded", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0+\0\0\0\0"])
def test_a_damaged_tiff_has_no_second_page(encoded):
    assert not file_kinds.has_several_pages(io.BytesIO(encoded))
