"""Images in zip and tar archives: as a folder of them, nothing unpacked, nothing believed."""

import io
import os
import pathlib
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from data_sets import load_eagerly, loaded, write_folder
from dc_keras.data.sources.inspection import find_unreadable
from dc_keras.data.sources.labels import describe_labels
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from encoded_images import FILES, IMAGE, encode

CONTENTS = {
    "b/1.png": FILES["png"],
    "b/deep/2.jpg_large": FILES["jpeg"],
    "a/1.png": FILES["png alpha"],
    "a/3.bin": encode(IMAGE, "TIFF"),
    "a/notes.txt": b"no image",
    "a/@eaDir/1.png": FILES["png"],
    "__MACOSX/a/1.png": FILES["png"],
    "a/.hidden.png": FILES["png"],
    "a/video": b"\x1aE\xdf\xa3 and so on",
}


def pack_zip(path, contents, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return str(path)


def pack_tar(path, contents, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return str(path)


PACKERS = {
    "deflated zip": ("x.zip", pack_zip),
    "stored zip": ("x.zip", lambda path, files: pack_zip(path, files, zipfile.ZIP_STORED)),
    "tar": ("x.tar", pack_tar),
    "old tar": ("x.tar", lambda path, files: pack_tar(path, files, format=tarfile.USTAR_FORMAT)),
    "pax by another name": (
        "x",
        lambda path, files: pack_tar(path, files, format=tarfile.PAX_FORMAT),
    ),
}


def kinds(source):
    return dict(source.findings.passed_over)


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_is_as_the_folder_that_was_packed(tmp_path, packer):
    name, pack = PACKERS[packer]
    folder = open_source(write_folder(str(tmp_path / "folder"), CONTENTS))
    archive = open_source(pack(tmp_path / name, CONTENTS))
    assert archive.names == folder.names
    assert archive.class_names == folder.class_names == ("a", "b")
    assert archive.labels.tolist() == folder.labels.tolist()
    assert archive.findings.passed_over == folder.findings.passed_over
    assert archive.findings.notes == folder.findings.notes
    assert loaded(archive) == loaded(folder)
    assert [image.numpy() for image in load_eagerly(archive)] == loaded(folder)


def test_the_order_does_not_depend_on_classes_or_on_that_of_the_archive(tmp_path):
    orders = set()
    for classes in ("xyz", "zxy", "yzx"):
        contents = {
            f"{folder}/1.png": content
            for folder, content in zip(classes, [b"long", b"b", b"c"], strict=True)
        }
        orders.add(tuple(loaded(open_source(pack_tar(tmp_path / f"{classes}.tar", contents)))))
    assert len(orders) == 1


@pytest.mark.parametrize("prefix", ["", "./", "photos/", "./data/photos/"])
def test_a_folder_around_all_images_is_none_of_their_classes(tmp_path, prefix):
    contents = {f"{prefix}{name}": content for name, content in CONTENTS.items()}
    source = open_source(pack_tar(tmp_path / "x.tar", contents | {"README.md": b"text"}))
    assert source.class_names == ("a", "b")
    shown = prefix.removeprefix("./")
    assert {name.removeprefix(shown) for name in source.names} == {
        "a/1.png",
        "a/3.bin",
        "b/1.png",
        "b/deep/2.jpg_large",
    }


def test_labels_of_a_file_may_leave_that_folder_out(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"all/1.png": b"1", "all/2.png": b"2"})
    assert open_source(path).labels is None
    (tmp_path / "labels.csv").write_text("path,label\n1.png,x\nall/2.png,y\n")
    source = open_source(path, str(tmp_path / "labels.csv"))
    assert source.class_names == ("x", "y")


def test_labels_of_folders_leave_out_images_beside_them(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"a/1.png": b"1", "b/2.png": b"2", "stray.png": b"3"})
    assert "lie outside" in describe_labels(open_source(path))[0]
    source = open_source(path, "folders")
    assert source.names == ("a/1.png", "b/2.png")
    assert kinds(source) == {"stray.png": "image outside of the class folders"}


def test_selection(tmp_path):
    source = open_source(pack_zip(tmp_path / "x.zip", {f"{i}.png": bytes([i]) for i in range(4)}))
    assert loaded(source.select(np.array([3, 1]))) == [b"\x03", b"\x01"]
    assert source.select(np.array([3, 1])).names == ("3.png", "1.png")


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    assert open_source(pack_tar(tmp_path / "x.tar", {name: b"1"})).names == (name,)


UNSAFE = ["../1.png", "a/../../1.png", "/etc/1.png", "a//1.png"]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("packer", ["deflated zip", "tar"])
def test_names_that_lead_elsewhere_are_passed_over(tmp_path, packer, name):
    file, pack = PACKERS[packer]
    source = open_source(pack(tmp_path / file, {"good.png": b"1", name: b"2"}))
    assert source.names == ("good.png",)
    assert list(kinds(source).values()) == ["badly named file"]


def test_zips_of_windows_may_part_folders_by_backslashes(tmp_path):
    names = ["set\\a\\1.png", "set\\b\\2.png", "set\\c\\", "..\\3.png", "C:\\4.png"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.create_system = 0
            archive.writestr(entry, b"1")
    source = open_source(str(tmp_path / "x.zip"))
    assert source.names == ("set/a/1.png", "set/b/2.png")
    assert source.class_names == ("a", "b")
    assert kinds(source) == dict.fromkeys(["../3.png", "C:/4.png"], "badly named file")


def test_links_and_devices_are_passed_over(tmp_path):
    path = pack_tar(tmp_path / "x.tar", {"good.png": b"1"})
    others = {
        "link.png": tarfile.SYMTYPE,
        "hard.png": tarfile.LNKTYPE,
        "pipe.png": tarfile.FIFOTYPE,
        "device.png": tarfile.CHRTYPE,
    }
    with tarfile.open(path, "a") as archive:
        for name, kind in others.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/dev/zero"
            archive.addfile(entry)
    source = open_source(path)
    assert source.names == ("good.png",)
    assert kinds(source) == dict.fromkeys(["link.png", "hard.png"], "link") | dict.fromkeys(
        ["pipe.png", "device.png"], "special file"
    )


def test_links_in_zips_are_passed_over(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"good.png": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("link.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/dev/zero")
    assert kinds(open_source(path)) == {"link.png": "link"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("packer", ["deflated zip", "tar"])
def test_of_files_of_one_name_the_last_counts(tmp_path, packer):
    file, pack = PACKERS[packer]
    path = pack(tmp_path / file, {"1.png": b"old"})
    with zipfile.ZipFile(path, "a") if file == "x.zip" else tarfile.open(path, "a") as archive:
        if file == "x.zip":
            archive.writestr("1.png", b"new")
        else:
            entry = tarfile.TarInfo("1.png")
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"new"))
    source = open_source(path)
    assert loaded(source) == [b"new"]
    assert kinds(source) == {"1.png": "replaced file"}


def test_other_compressions_and_encrypted_files_are_passed_over(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"good.png": b"1"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("bzip2.png", b"2" * 100)
        archive.writestr("secret.png", b"3")
    data = bytearray(pathlib.Path(path).read_bytes())
    # The mark of encryption, in the entry of the central directory.
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    source = open_source(path)
    assert source.names == ("good.png",)
    assert kinds(source) == {"bzip2.png": "unusually packed file", "secret.png": "encrypted file"}


def test_a_bomb_is_passed_over_and_never_unpacked(tmp_path):
    contents = {"good.png": FILES["png"], "bomb.png": bytes(64 << 20)}
    path = pack_zip(tmp_path / "x.zip", contents)
    tracemalloc.start()
    source = open_source(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kinds(source) == {"bomb.png": "suspiciously compressed file"}
    assert peak < 4 << 20


def _declare(path, name, size):
    """Writes another unpacked size into the index of a zip archive."""
    data = bytearray(pathlib.Path(path).read_bytes())
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = struct.pack("<I", size)
    pathlib.Path(path).write_bytes(data)


def test_what_unpacks_to_more_than_declared_is_unreadable_and_not_unpacked(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"1.png": FILES["png"], "more.png": bytes(64 << 20)})
    _declare(path, "more.png", 1000)
    source = open_source(path)
    tracemalloc.start()
    with pytest.raises(tf.errors.DataLossError, match="another size than its index says"):
        source.read(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_file_above_the_limit_is_passed_over(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"1.png": b"1", "large.png": b"22"})
    _declare(path, "large.png", (1 << 30) + 1)
    assert kinds(open_source(path)) == {"large.png": "file above 1 GiB"}


def test_files_that_share_bytes_are_passed_over(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"1.png": b"1" * 50, "2.png": b"2" * 50})
    data = bytearray(pathlib.Path(path).read_bytes())
    # The second entry leads to the first file, under whose name it is found.
    entry = data.rindex(b"2.png") - 46
    data[entry + 42 : entry + 46] = struct.pack("<I", 0)
    pathlib.Path(path).write_bytes(data)
    assert kinds(open_source(path)) == {"2.png": "damaged file"}
    data[entry + 46 : entry + 51] = b"1.png"
    pathlib.Path(path).write_bytes(data)
    assert kinds(open_source(path)) == {"1.png": "overlapping file"}


def test_a_damaged_file_in_a_zip_is_unreadable_by_its_checksum(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"1.png": FILES["png"]}, zipfile.ZIP_STORED)
    data = bytearray(pathlib.Path(path).read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    pathlib.Path(path).write_bytes(data)
    (why,) = find_unreadable(open_source(path), progress=False).values()
    assert (
        why == "the file cannot be read: the file in the archive is damaged: its checksum differs"
    )


def test_an_archive_that_is_cut_while_it_is_in_use(tmp_path):
    path = pack_tar(tmp_path / "x.tar", {"1.png": FILES["png"], "2.png": FILES["png"]})
    source = open_source(path)
    os.truncate(path, 512 + 100)
    with pytest.raises(tf.errors.DataLossError, match="is cut off"):
        source.load(tf.constant(0))
    with pytest.raises(tf.errors.OpError):
        loaded(source)


@pytest.mark.parametrize("packer", ["deflated zip", "stored zip", "tar"])
def test_archives_that_are_cut_are_refused_wherever_the_cut_is(tmp_path, packer):
    name, pack = PACKERS[packer]
    path = pack(tmp_path / name, {f"{i}.png": FILES["png"] for i in range(3)})
    size = os.path.getsize(path)
    for part in range(1, 20):
        cut = size * part // 20
        os.truncate(pack(tmp_path / name, {f"{i}.png": FILES["png"] for i in range(3)}), cut)
        try:
            source = open_source(path)
        except InputError:
            continue
        # Behind the last file, tar archives have 10 KB of nothing.
        assert packer == "tar" and (
            len(source) == 3 or "no mark at its end" in source.findings.notes[0]
        )


def test_a_tar_that_is_cut_behind_a_file_has_a_note(tmp_path):
    path = pack_tar(tmp_path / "x.tar", {"1.png": b"1", "2.png": b"2"})
    os.truncate(path, 1024)
    source = open_source(path)
    assert source.names == ("1.png",)
    assert "no mark at its end" in source.findings.notes[0]


def test_a_tar_with_rubbish_among_its_entries_is_refused(tmp_path):
    path = pack_tar(tmp_path / "x.tar", {f"{i}.png": b"1" for i in range(3)})
    with open(path, "r+b") as file:
        file.seek(1024)
        file.write(b"rubbish" * 73)
    with pytest.raises(InputError, match="no entry begins at byte 1,024"):
        open_source(path)


def test_a_tar_whose_descriptions_would_fill_the_memory_is_refused(tmp_path):
    entry = tarfile.TarInfo("@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 8 << 20
    (tmp_path / "x.tar").write_bytes(entry.tobuf())
    os.truncate(tmp_path / "x.tar", 9 << 20)
    with pytest.raises(InputError, match="description takes 8,388,608 bytes"):
        open_source(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_refused_with_the_way_out(tmp_path, mode):
    path = pack_tar(tmp_path / "x.tgz", {"1.png": b"1"}, mode)
    with pytest.raises(InputError, match="compressed as a whole.*Unpack it"):
        open_source(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text" * 1000])
@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_what_is_no_archive_is_an_input_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        open_source(str(tmp_path / name))


def test_random_damage_ends_with_an_input_error_or_fewer_images(tmp_path):
    rng = np.random.default_rng(0)
    whole = {}
    for name, pack in (("x.zip", pack_zip), ("x.tar", pack_tar)):
        whole[name] = pathlib.Path(pack(tmp_path / name, CONTENTS)).read_bytes()
    for trial in range(300):
        name = ("x.zip", "x.tar")[trial % 2]
        data = bytearray(whole[name])
        for at in rng.integers(0, len(data), 8):
            data[at] = rng.integers(256)
        (tmp_path / name).write_bytes(data)
        try:
            source = open_source(str(tmp_path / name))
        except InputError:
            continue
        for index in range(len(source)):
            try:
                source.read(index)
            except tf.errors.DataLossError:
                pass
