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
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from dc_keras.errors import CannotWriteError

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

    Raises:
        CannotWriteError: If the disk is full, or does not let the file be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "notes.txt")
    ...     with write_atomically(path) as file:
    ...         _ = file.write("whole")
    ...     path.read_text()
    'whole'
    """
    path = pathlib.Path(path)
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
        path: Where the folder shall be; a folder that is there already is replaced.

    Yields:
        The temporary folder to write into. When the block raises, `path` stays as it was.

    Raises:
        CannotWriteError: If the disk is full, or does not let the folder be written.
    """
    path = pathlib.Path(path)
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
                os.replace(temporary, path)
                shutil.rmtree(aside)
            else:
                os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove_directory(path: str | os.PathLike) -> None:
    """Removes a folder, which is whole under its name until it is gone.

    Args:
        path: The folder.

    Raises:
        CannotWriteError: If the disk does not let it be removed.
    """
    path = pathlib.Path(path)
    with explain_write_errors(path):
        shutil.rmtree(_move_aside(path))


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
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


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
