"""What a file is: by its name where that is plain, else by the bytes that it starts with."""

import os
import re
import struct
from typing import BinaryIO

# Files of these names are taken for images without a look; the inspection decodes them anyway.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# Bytes that tell a format. HEIC and AVIF list there what they are compatible with.
START = 64

SYSTEM_FILE, SYSTEM_FOLDER = "system file", "system folder"
OTHER, EMPTY, SHARD = "text or other file", "empty file", "TFRecord shard"
UNREAD = "image of a kind that is not read"
HEIC, SEVERAL_PAGES = "HEIC", "TIFF of several pages"

# What `decoding` reads, and what `converted` reads through Pillow.
DECODED = ("JPEG", "PNG", "GIF", "BMP", "WebP")
CONVERTED = ("TIFF", SEVERAL_PAGES, "PPM", "JPEG 2000", "AVIF", HEIC)

# In lower case. Those that begin with "." are hidden anyway.
_SYSTEM_FOLDERS = {
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot",
    "$recycle.bin", "recycler", "recycled", "system volume information", "found.000",
    "lost+found", "lost.dir", "__macosx", "__pycache__",
}  # fmt: skip
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}

_BY_SUFFIX = {
    OTHER: "txt csv tsv json jsonl ndjson xml md rst html htm css js py ipynb yaml yml toml ini "
    "cfg conf log sh bat m c h cpp tex bib rtf doc docx odt xls xlsx ods ppt pptx odp exe dll so "
    "db sqlite sqlite3 lst names data",
    "archive file": "zip tar gz tgz bz2 tbz xz txz zst 7z rar",
    "video file": "mp4 m4v mov avi mkv webm mpg mpeg wmv flv 3gp mts m2ts ogv",
    "sound file": "mp3 wav flac ogg oga m4a aac wma aif aiff mid",
    "camera raw file": "dng nef nrw cr2 cr3 crw arw srf sr2 orf rw2 raf pef srw raw rwl 3fr iiq",
    "array file": "npy npz mat h5 hdf5 parquet feather arrow pkl pickle pt pth safetensors ckpt "
    "onnx fits fit nii dcm",
    "PDF": "pdf",
    "drawing file": "svg svgz eps ps ai cdr dxf wmf emf",
    "Photoshop or GIMP file": "psd psb xcf",
}
_KIND_OF_SUFFIX = {
    f".{suffix}": kind for kind, suffixes in _BY_SUFFIX.items() for suffix in suffixes.split()
}

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    # Canon's raw files are a kind of TIFF, whose first page is a thumbnail.
    (b"II*\x00\x10\x00\x00\x00CR", "camera raw file"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x01\x00", UNREAD),
    (b"DDS ", UNREAD),
    (b"qoif", UNREAD),
    (b"\x76\x2f\x31\x01", UNREAD),  # OpenEXR
    (b"#?RADIANCE", UNREAD),
    (b"II\xbc\x01", UNREAD),  # JPEG XR
    (b"\x01\xda\x00", UNREAD),  # SGI
    (b"\x01\xda\x01", UNREAD),
    (b"8BPS", "Photoshop or GIMP file"),
    (b"gimp xcf", "Photoshop or GIMP file"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "archive file"),
    (b"\x1f\x8b", "archive file"),
    (b"7z\xbc\xaf\x27\x1c", "archive file"),
    (b"\x1aE\xdf\xa3", "video file"),
    (b"\x93NUMPY", "array file"),
)


def is_system(name: str) -> str:
    """The kind of what systems and network drives leave in folders; empty for what users do."""
    name = name.lower()
    if name in _SYSTEM_FOLDERS or name.startswith((".trash", "$recycle")):
        return SYSTEM_FOLDER
    return SYSTEM_FILE if name in _SYSTEM_FILES else ""


def kind_of_name(name: str) -> str:
    """The kind that a name tells; empty where the content must be looked at.

    >>> kind_of_name("notes.TXT"), kind_of_name("a.jpg_large")
    ('text or other file', '')
    """
    return _KIND_OF_SUFFIX.get(os.path.splitext(name)[1].lower(), "")


def kind_of_start(start: bytes) -> str:
    """The kind that the first `START` bytes of a file tell, by their signature.

    >>> kind_of_start(b"P6 4 4 255 "), kind_of_start(b"BM is how this text begins")
    ('PPM', 'text or other file')
    """
    if not start:
        return EMPTY
    for signature, kind in _STARTS:
        if start.startswith(signature):
            return kind
    if start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if start.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"WAVE": "sound file"}.get(start[8:12], "video file")
    if re.match(rb"P([1-6]|f)\s+[#\d]", start):
        return "PPM"
    if start[4:8] == b"ftyp":
        size = int.from_bytes(start[:4], "big")
        return _kind_of_brands(start[8 : min(size, len(start))])
    return OTHER


def _kind_of_brands(brands: bytes) -> str:
    """What a file of the ISO base media format is: the brand of its maker, and compatible ones."""
    named = {brands[at : at + 4] for at in range(0, len(brands), 4)}
    if named & {b"avif", b"avis"}:
        return "AVIF"
    if named & _HEIF_BRANDS:
        return HEIC
    return "camera raw file" if b"crx " in named else "video file"


def has_several_pages(file: BinaryIO) -> bool:
    """Whether a TIFF has a page behind the first; damaged ones count as having none."""
    try:
        file.seek(0)
        header = file.read(16)
        order = "<" if header[:2] == b"II" else ">"
        big = struct.unpack(f"{order}H", header[2:4])[0] == 43
        at, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
        (directory,) = struct.unpack_from(f"{order}{at}", header, 8 if big else 4)
        file.seek(directory)
        (entries,) = struct.unpack(f"{order}{count}", file.read(8 if big else 2))
        file.seek(directory + (8 if big else 2) + entry * entries)
        (following,) = struct.unpack(f"{order}{at}", file.read(8 if big else 4))
    except (struct.error, OSError, OverflowError, ValueError):
        return False
    return following != 0
