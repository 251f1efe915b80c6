"""One process trains in a run directory at a time."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from dc_keras.errors import InputError


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a folder, a file in it that says who holds it.

    It is a lock of the kernel (flock) and ends with the process, however that ends, so there are no
    stale ones. On NFS, Linux passes it on to the server: it holds between machines unless the
    folder is mounted with `nolock` or `local_lock`, and after a machine crashed until the server
    gives it up, 90 seconds as a rule. A folder that holds nothing else in the end is removed.

    Args:
        path: The lock file. Its folder must exist.

    Raises:
        InputError: If another process has it.
    """
    # Not truncated: what it says may be another's.
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(
                f"Another process trains in this run directory. Received: --run_dir={path.parent}, "
                f"held by {file.read().strip() or 'one that does not say who it is'}. Wait for it, "
                "end it (SIGTERM saves first), or use another --run_dir."
            ) from error
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        # A full disk is no reason not to hold the lock: saving will tell.
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(json.dumps(owner))
            file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if os.listdir(path.parent) == [path.name]:
                    path.unlink()
                    path.parent.rmdir()
