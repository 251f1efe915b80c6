"""Files that are either whole or absent: written beside their place and renamed into it.

Files reach the disk before their new name does, and the name before the function returns, so this
holds for a power cut as it does for a killed process.
"""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from dc_keras.errors import CannotWriteError

# What can be at a path, in words.
_KINDS = {
    stat.S_ISREG: "a file",
    stat.S_ISDIR: "a folder",
    stat.S_ISLNK: "a link that leads to itself",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}

# Temporary files and folders are called ".NAME." and eight random characters.
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}$")


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` and renames it to `path` once it is complete.

    Args:
        path: Where the file shall be. Its folder must exist.
        mode: "w" for UTF-8 text (bytes that are no UTF-8 pass through as surrogates) or "wb".

    Yields:
        The open temporary file. When the block raises, `path` stays as it was.

    A link is followed: what it leads to is replaced.

    Raises:
        CannotWriteError: If the disk is full, or does not let the file be written, or if something
            else than a file is there, such as a device.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "notes.txt")
    ...     with write_atomically(path) as file:
    ...         _ = file.write("whole")
    ...     path.read_text()
    'whole'
    """
    path = check_output_file(path)
    text: dict[str, Any] = {}
    if "b" not in mode:
        text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with explain_write_errors(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(handle, mode, **text) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def write_directory_atomically(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Makes a temporary folder beside `path` and renames it to `path` once it is complete.

    Args:
        path: Where the folder shall be; a folder that is there already is replaced. A link is
            followed: the folder that it leads to is replaced.

    Yields:
        The temporary folder to write into. When the block raises, `path` stays as it was.

    Raises:
        CannotWriteError: If the disk is full, or does not let the folder be written, or if
            something else than a folder is there.
    """
    path = check_output_folder(path)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with open(file, "rb") as written:
                        os.fsync(written.fileno())
            _sync_folder(temporary)
            os.chmod(temporary, 0o777 & ~_umask())
            if path.exists():
                # A folder cannot be replaced in one step, so the old one moves aside first.
                aside = _move_aside(path)
                try:
                    os.replace(temporary, path)
                except BaseException:
                    os.replace(aside, path)
                    raise
                shutil.rmtree(aside)
            else:
                os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def copy_file(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies a file with its times and permissions; the copy is whole, or absent.

    Args:
        source: The file; of a link, what it leads to.
        target: Where the copy shall be, in a folder that exists. What is there is not replaced.

    Raises:
        OSError: If something is there, or it cannot be read or written.
    """
    target = pathlib.Path(target)
    # A short name, since that of the target may be as long as names can be.
    temporary = target.with_name(f".part.{secrets.token_hex(4)}")
    try:
        shutil.copy2(source, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists")
        os.rename(temporary, target)
        _sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_directory(path: str | os.PathLike) -> None:
    """Removes a folder, which is whole under its name until it is gone.

    Of a link to one the link alone is removed.

    Args:
        path: The folder.

    Raises:
        CannotWriteError: If the disk does not let it be removed.
    """
    path = pathlib.Path(path)
    with explain_write_errors(path):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(_move_aside(path))


def spreadsheet_text(text: str) -> str:
    """A cell of a CSV file for people: an apostrophe keeps a spreadsheet from running a formula.

    Not for files that the program reads again, in which names stay what they are.

    >>> spreadsheet_text("=1+1.png"), spreadsheet_text("a=b.png")
    ("'=1+1.png", 'a=b.png')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def append_line(path: str | os.PathLike, line: str) -> None:
    """Adds a line to a file, down to the disk.

    Args:
        path: A text file; made when absent.
        line: Without its line end.

    Raises:
        CannotWriteError: If it cannot be written. What the file held before stays.
    """
    with explain_write_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what a killed process was writing into a folder, so that it does not pile up.

    Args:
        folder: Need not exist. No one may be writing into it.
    """
    folder = pathlib.Path(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if _LEFTOVER.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def check_output_file(path: str | os.PathLike) -> pathlib.Path:
    """Checks that a file can be written somewhere, or replaced there. Changes nothing.

    Args:
        path: Where the file shall be. Its folder must exist.

    Returns:
        Where it will be: `path`, or what it leads to if it is a link.

    Raises:
        CannotWriteError: If something else is there: a folder, or a device, pipe or socket, which
            a rename would replace; or if its folder is missing or does not let it be written.
    """
    return _check_output(path, stat.S_ISREG, "a file, or a name that is free")


def check_output_folder(path: str | os.PathLike) -> pathlib.Path:
    """As `check_output_file`, for a folder. Its own folder need not exist."""
    return _check_output(path, stat.S_ISDIR, "a folder, or a name that is free")


def _check_output(
    path: str | os.PathLike, is_right: Callable[[int], bool], expected: str
) -> pathlib.Path:
    place = pathlib.Path(path)
    if place.is_symlink():
        place = pathlib.Path(os.path.realpath(place))
    found = None
    with explain_write_errors(place), contextlib.suppress(FileNotFoundError):
        # Of a link that leads to itself there is no other end.
        found = place.lstat().st_mode
    if found is not None and not is_right(found):
        kind = next(told for test, told in _KINDS.items() if test(found))
        leads = f", which leads to {place}" if place != pathlib.Path(path) else ""
        raise CannotWriteError(
            f"The output is {kind}. Received: {path}{leads}. Expected {expected}."
        )
    if place.parent.is_dir() and not os.access(place.parent, os.W_OK):
        raise CannotWriteError(
            f"The output cannot be written there. Received: {path}, whose folder does not let it "
            "be. Expected a folder that may be written to: mend its permissions, or choose another."
        )
    return place


@contextlib.contextmanager
def explain_write_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns an OSError of the block into an error that tells what could not be written.

    Raises:
        CannotWriteError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CannotWriteError(
            f"This cannot be written. Received: {path} ({error}). Expected free space and "
            "permission. What was there before is unharmed: make room, or mend the permissions, "
            "and start the same command again."
        ) from error


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder with all above it, where they are missing.

    Raises:
        CannotWriteError: If the disk does not let it be made, or something else is there.
    """
    with explain_write_errors(path):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def tensorflow_errors_as_os_errors() -> Iterator[None]:
    """Turns errors of TensorFlow while it writes files into the OSErrors of Python's own files.

    Raises:
        OSError: In place of a `tf.errors.OpError`.
    """
    import tensorflow as tf  # late, since settings are written without it

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _move_aside(path: pathlib.Path) -> pathlib.Path:
    """Gives a folder the name of a temporary one, which takes no room on a full disk."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.replace(path, aside)
    return aside


def _sync_folder(path: pathlib.Path) -> None:
    """Brings the names in a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
