"""One process trains in a run directory at a time."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from dc_keras.errors import InputError


class HeldLock:
    """The lock of a folder while this process holds it.

    Args:
        path: The lock file.
        file: It, opened and locked.
    """

    def __init__(self, path: pathlib.Path, file: IO[str]):
        self._path = path
        self._file = file
        self._owner = json.dumps(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
            }
        )
        self._sign()

    def look_again(self) -> None:
        """Looks whether the lock still keeps others out, and mends it where its file was removed.

        Raises:
            InputError: If the folder is another one by now, or another process has it.
        """
        if self._is_in_place():
            return
        if not self._path.parent.is_dir():
            raise InputError(
                "The run directory is no longer there. Received: "
                f"--run_dir={self._path.parent}, which was moved or removed while this process "
                "trained in it. Nothing more is written. Where it was moved to, "
                "--flagfile=THAT_PLACE/flags.cfg goes on from its newest checkpoint."
            )
        file = open(self._path, "a+", encoding="utf-8")
        try:
            _lock_or_refuse(file, self._path)
        except BaseException:
            file.close()
            raise
        self._file.close()
        self._file = file
        self._sign()

    def close(self) -> None:
        """Gives the lock up."""
        self._file.close()

    def _is_in_place(self) -> bool:
        """Whether the file that others would find is the one that is locked here."""
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                return True
            # Some network drives give a file another inode number after a while.
            return self._path.read_text(encoding="utf-8") == self._owner
        except (OSError, UnicodeDecodeError):
            return False

    def _sign(self) -> None:
        # A full disk is no reason not to hold the lock: saving will tell.
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.write(self._owner)
            self._file.flush()


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[HeldLock]:
    """Holds the lock of a folder: a file in it that says who holds it, and the folder itself.

    They are locks of the kernel (flock) and end with the process, however that ends, so there are
    no stale ones. The folder's keeps others out when the file is removed by hand. On NFS, which
    locks no folders, Linux passes the file's on to the server: it holds between machines unless the
    folder is mounted with `nolock` or `local_lock`, and after a machine crashed until the server
    gives it up, 90 seconds as a rule. A folder that holds nothing else in the end is removed.

    Args:
        path: The lock file. Its folder must exist.

    Yields:
        The lock, to look again whether it still holds.

    Raises:
        InputError: If another process has it.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Not truncated: what it says may be another's.
        file = open(path, "a+", encoding="utf-8")
        try:
            _lock_or_refuse(file, path)
            _lock_or_refuse(folder, path)
        except BaseException:
            file.close()
            raise
        held = HeldLock(path, file)
        try:
            yield held
        finally:
            with contextlib.suppress(OSError):
                if os.listdir(path.parent) == [path.name]:
                    path.unlink()
                    path.parent.rmdir()
            held.close()
    finally:
        os.close(folder)


def _lock_or_refuse(opened: IO[str] | int, path: pathlib.Path) -> None:
    """Locks the lock file, or its folder by its descriptor.

    Raises:
        InputError: If another process has it.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = path.read_text(encoding="utf-8", errors="replace").strip()
        raise InputError(
            f"Another process trains in this run directory. Received: --run_dir={path.parent}, "
            f"held by {owner or 'one that does not say who it is'}. Wait for it, "
            "end it (SIGTERM saves first), or use another --run_dir."
        ) from error
    except OSError:
        # NFS locks what is open for writing alone, which a folder never is.
        if not isinstance(opened, int):
            raise
