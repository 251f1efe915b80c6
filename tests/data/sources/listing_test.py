"""Which files of a folder are images, and what is told of the others."""

import os
import socket

import pytest

from data_sets import write_folder, write_image
from dc_keras.data.sources import listing
from dc_keras.data.sources.inspection import drop_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from encoded_images import FILES, IMAGE, encode

# Names that people have for one JPEG.
NAMES = [
    "a.jpg", "b.jpg?w=640", "c.jpg.1", "d.jpg_large", "e", "f.jpe", "g.jfif", "h.pjpeg", "i.JPG",
    "k.dib", "l.apng", "m.mpo", "n.tif", "o.heic", "p.avif", "q.jpg ", "r.jpg%3Fsize",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_the_content_decides_whatever_the_name(tmp_path, scheme):
    root = write_folder(f"{scheme}{tmp_path}/images", dict.fromkeys(NAMES, FILES["jpeg"]))
    source = open_source(root)
    assert source.names == tuple(NAMES)
    assert source.findings.lines() == []


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_what_is_passed_over_is_counted_by_kind(tmp_path, scheme):
    files = {"a/1.png": FILES["png"], "a/readme.txt": b"text", "b/empty": b"", "b/x.bin": b"\0\1"}
    files |= {"b/clip.mp4": b"", "b/2.jxl": b"\xff\x0a\0", "b/3.jxl": b"\xff\x0a\0"}
    source = open_source(write_folder(f"{scheme}{tmp_path}/images", files))
    assert source.names == ("a/1.png",)
    assert source.findings.passed_over == (
        ("a/readme.txt", "text or other file"),
        ("b/2.jxl", "JPEG XL"),
        ("b/3.jxl", "JPEG XL"),
        ("b/clip.mp4", "video file"),
        ("b/empty", "empty file"),
        ("b/x.bin", "text or other file"),
    )
    counts = "2 JPEG XL, 2 text or other files, 1 empty file, 1 video file"
    assert source.findings.counts() == counts


def test_files_that_their_suffix_tells_are_not_opened(tmp_path, monkeypatch):
    for name in ["1.png", "2.txt", "3.zip", "4.dng"]:
        write_image(tmp_path / name)
    opened = []
    monkeypatch.setattr(listing, "open", lambda *path: opened.append(path), raising=False)
    found = listing.list_folder(str(tmp_path))
    assert found.images == [("1.png",)] and not opened


def test_a_folder_without_images_tells_what_it_holds(tmp_path):
    write_folder(str(tmp_path), {"1.txt": b"", "2.txt": b"", "3.jxl": b"\xff\x0a\0"})
    with pytest.raises(InputError, match="no images.*with 2 text or other files, 1 JPEG XL[.]"):
        open_source(str(tmp_path))


def test_what_pillow_reads_is_taken_and_said(tmp_path):
    pages = encode(IMAGE, "TIFF", save_all=True, append_images=[IMAGE])
    files = {"1.tif": encode(IMAGE, "TIFF"), "2.tif": pages, "3.ppm": encode(IMAGE, "PPM")}
    source = open_source(write_folder(str(tmp_path), files))
    assert len(source) == 3
    first, second = source.findings.lines()
    assert first.startswith("Read through Pillow: 2 TIFF, 1 PPM. ")
    assert second == "Of 1 TIFF of several pages the first page is taken."


def test_heic_is_passed_over_with_its_remedy_where_its_library_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "reads_heic", lambda: False)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    source = open_source(write_folder(str(tmp_path), {"1.png": FILES["png"], "2.heic": heic}))
    first, second = source.findings.lines()
    assert first == "Passed over: 1 HEIC ('2.heic')" and "pip install pillow-heif" in second


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_system_folders_and_files_are_left_out_by_name(tmp_path, scheme):
    names = ["a/1.png", "a/@eaDir/1.png/THUMB.jpg", "a/Thumbs.db", "$RECYCLE.BIN/2.png"]
    names += ["lost+found/3.png", "__MACOSX/a/1.png"]
    root = write_folder(f"{scheme}{tmp_path}/images", dict.fromkeys(names, FILES["png"]))
    source = open_source(root)
    assert source.names == ("a/1.png",) and source.class_names == ("a",)
    assert source.findings.counts() == "4 system folders, 1 system file"


@pytest.fixture
def locked_folder(tmp_path, monkeypatch):
    """Images, and a folder among them that may not be listed; root may list any."""
    for i in range(9):
        write_image(tmp_path / "a" / f"{i}.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return tmp_path


def test_a_folder_that_cannot_be_listed_is_left_out_and_counted_as_one(locked_folder):
    source = open_source(str(locked_folder))
    assert source.findings.passed_over == (("locked", "folder that cannot be listed"),)
    assert drop_unreadable(source, {}, 0.1) is source
    assert len(drop_unreadable(source, {2: "empty"}, 0.2)) == 8
    with pytest.raises(InputError, match=r"1 of 10 \(10.0%\)(?s:.*)locked: the folder cannot be"):
        drop_unreadable(source, {}, 0.09)


def test_the_data_folder_itself_must_be_listed(locked_folder):
    with pytest.raises(InputError, match="cannot be listed.*Permission denied"):
        open_source(str(locked_folder / "locked"))


def test_special_and_huge_files_are_never_opened(tmp_path, monkeypatch):
    write_image(tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    os.mkfifo(tmp_path / "no suffix")
    (tmp_path / "3.jpg").symlink_to("/dev/zero")
    with open(tmp_path / "4.png", "wb") as file:
        file.truncate(listing.MAX_FILE_BYTES + 1)
    with socket.socket(socket.AF_UNIX) as unix:
        monkeypatch.chdir(tmp_path)  # Paths of sockets are short.
        unix.bind("5.png")
        source = open_source(str(tmp_path))
    assert source.names == ("1.png",)
    assert source.findings.counts() == "4 special files, 1 file above 1 GiB"


def test_the_largest_file_is_allowed(tmp_path):
    with open(tmp_path / "1.png", "wb") as file:
        file.truncate(listing.MAX_FILE_BYTES)
    assert listing.kind_of_file(str(tmp_path / "1.png")) not in (listing.TOO_LARGE, listing.SPECIAL)


def test_links_that_lead_nowhere_are_counted(tmp_path):
    write_image(tmp_path / "1.png")
    (tmp_path / "notes").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    assert open_source(str(tmp_path)).findings.counts() == "2 broken links"


def test_a_shard_among_class_folders_hides_no_images(tmp_path):
    for name in ["a/1.png", "b/2.png"]:
        write_image(tmp_path / name)
    (tmp_path / "old.tfrecord").write_bytes(b"records")
    source = open_source(str(tmp_path))
    assert source.names == ("a/1.png", "b/2.png") and source.class_names == ("a", "b")
    passed, note = source.findings.lines()
    assert passed == "Passed over: 1 TFRecord shard ('old.tfrecord')"
    assert f"--data_dir={tmp_path}/old.tfrecord" in note
