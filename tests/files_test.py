"""Files and folders are whole or absent."""

import os
import socket

import pytest
import tensorflow as tf

from dc_keras.errors import CannotWriteError
from dc_keras.files import (
    append_line,
    check_output_file,
    check_output_folder,
    explain_write_errors,
    make_folder,
    remove_directory,
    remove_leftovers,
    tensorflow_errors_as_os_errors,
    write_atomically,
    write_directory_atomically,
)


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with write_atomically(path) as file:
        file.write("half")
        assert not path.exists()
        file.write(" whole\n")
    assert path.read_text() == "half whole\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), write_atomically(path, "wb") as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_tensorflow_errors_are_told_like_those_of_python(tmp_path):
    """`/dev/full` is a disk without room."""
    with pytest.raises(CannotWriteError, match="(?s)events.*No space left.*make room"):
        with explain_write_errors(tmp_path / "events"), tensorflow_errors_as_os_errors():
            with tf.io.TFRecordWriter("/dev/full") as writer:
                writer.write(b"event")


def test_names_that_are_no_utf8_pass_through(tmp_path):
    path = tmp_path / "a.txt"
    with write_atomically(path) as file:
        file.write(os.fsdecode(b"\xff.jpg"))
    assert path.read_bytes() == b"\xff.jpg"


def test_new_files_have_the_usual_permissions(tmp_path):
    with write_atomically(tmp_path / "a"):
        pass
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_folder_replaces_the_old_one(tmp_path):
    place = tmp_path / "deep" / "model"
    for content in ("first", "second"):
        with write_directory_atomically(place) as folder:
            (folder / content).write_text(content)
        assert os.listdir(place) == [content]
    assert os.listdir(place.parent) == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(RuntimeError), write_directory_atomically(place) as folder:
        (folder / "new").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model"] and os.listdir(place) == ["old"]


def test_a_folder_that_is_being_removed_is_not_found_in_part(tmp_path, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.rmtree", killed)
        remove_directory(tmp_path / "old")
    assert not (tmp_path / "old").exists()
    assert len(os.listdir(tmp_path)) == 1
    remove_leftovers(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_removed_is_told_plainly(tmp_path):
    with pytest.raises(CannotWriteError, match="gone.*Expected"):
        remove_directory(tmp_path / "gone")


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a socket": socket_at,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "a link that leads to itself": lambda path: path.symlink_to(path),
}
NO_FOLDERS = {**NO_FILES, "a file": lambda path: path.touch()}
del NO_FOLDERS["a folder"]


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, kind):
    path = tmp_path / "out"
    NO_FILES[kind](path)
    before = path.lstat()
    with pytest.raises(CannotWriteError, match=f"The output is {kind}. Received: {path}"):
        with write_atomically(path):
            pytest.fail("work was done")
    assert path.lstat().st_ino == before.st_ino and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", NO_FOLDERS)
def test_what_is_no_folder_is_not_replaced_by_one(tmp_path, kind):
    path = tmp_path / "out"
    NO_FOLDERS[kind](path)
    before = path.lstat()
    with pytest.raises(CannotWriteError, match=f"The output is {kind}. Received: {path}"):
        with write_directory_atomically(path):
            pytest.fail("work was done")
    assert path.lstat().st_ino == before.st_ino and os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told_before_any_work(tmp_path):
    tmp_path.chmod(0o500)
    for check in (check_output_file, check_output_folder):
        with pytest.raises(CannotWriteError, match="cannot be written there.*permissions"):
            check(tmp_path / "out")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_to_a_file_what_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "b.txt", tmp_path / "a.txt"
    if there:
        target.write_text("old")
    link.symlink_to("elsewhere/b.txt")
    with write_atomically(link) as file:
        file.write("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert os.listdir(tmp_path / "elsewhere") == ["b.txt"]


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_to_a_folder_what_it_leads_to_is_replaced(tmp_path, there):
    target, link = tmp_path / "elsewhere" / "model", tmp_path / "run" / "model"
    link.parent.mkdir()
    if there:
        target.mkdir(parents=True)
        (target / "old").touch()
    link.symlink_to(target)
    with write_directory_atomically(link) as folder:
        (folder / "new").touch()
    assert link.is_symlink() and os.listdir(link) == ["new"]
    assert os.listdir(target.parent) == os.listdir(link.parent) == ["model"]


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    place, replace = tmp_path / "model", os.replace
    place.mkdir()
    (place / "old").touch()

    def fails_the_second_time(source, target):
        if os.path.exists(os.path.join(source, "new")):
            raise OSError("input/output error")
        replace(source, target)

    monkeypatch.setattr("os.replace", fails_the_second_time)
    with pytest.raises(CannotWriteError), write_directory_atomically(place) as folder:
        (folder / "new").touch()
    assert os.listdir(tmp_path) == ["model"] and os.listdir(place) == ["old"]


def test_of_a_link_to_a_folder_the_link_alone_is_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    for name in ("link", ".model.abcdefgh"):
        (tmp_path / name).symlink_to("precious")
    remove_directory(tmp_path / "link")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["precious"]


def test_a_line_is_added_behind_the_others(tmp_path):
    for line in ("first", "sécond"):
        append_line(tmp_path / "lines.txt", line)
    assert (tmp_path / "lines.txt").read_text(encoding="utf-8") == "first\nsécond\n"


def test_a_line_that_cannot_be_added_is_told_plainly():
    with pytest.raises(CannotWriteError, match="/dev/full.*No space left"):
        append_line("/dev/full", "line")


def test_files_of_others_are_no_leftovers(tmp_path):
    for name in (".hidden", ".lock", "a.txt", ".a.txt.short", ".a.txt.abcdefgh"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".a.txt.short", ".hidden", ".lock", "a.txt"]


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_folder_is_made_with_all_above_it_or_the_reason_is_told(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWriteError, match="file.in"):
        make_folder(tmp_path / "file" / "in")
