"""A second copy of a run, at a place of `tf.io.gfile` such as gs://bucket/run.

Machines that are taken back leave nothing on their disks. The copy is written after each
checkpoint, and a machine with an empty disk goes on from it. It is a run directory like the one it
was made from, beside `backup.json`, which says whose it is:

    {"run": "5f0c...", "writer": "9a41...", "host": "gpu-7", "since": "2026-11-28T05:00:00+00:00"}

Object stores have neither locks nor renames. So files reach it in an order in which a copy that was
cut off is one of an earlier moment: checkpoints before what tells of them, the file that makes a
folder a checkpoint last, and only then is removed what the run has removed. Who began to write last
goes on; another that finds itself replaced ends.
"""

import contextlib
import datetime
import json
import os
import pathlib
import secrets
import socket
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from dc_keras.errors import CannotWriteError, InputError
from dc_keras.files import write_atomically, write_directory_atomically
from dc_keras.runs.checksums import SUMS
from dc_keras.runs.run_directory import RunDirectory, newest_place

_OWNER = "backup.json"
# Beside this a copy may hold what others put there.
_OWN_FOLDERS = ("checkpoints", "assignments", "tensorboard", "model")


@contextlib.contextmanager
def backed_up(url: str, run: RunDirectory) -> Iterator[Callable[[], None]]:
    """Keeps a copy of a run; a run that is not there yet is brought back from it.

    Args:
        url: Where the copy is: a folder of any file system of `tf.io.gfile`. Nothing is done
            where it is empty.
        run: The run; not locked yet.

    Yields:
        What is called when the run has something new to copy. It takes the time that copying takes,
        and only warns where that fails: the next call copies what is missing. At the end of the
        block the rest is copied.

    Raises:
        InputError: If the folder holds something else, another run, or one that has come further;
            or when another process has begun to write there.
        CannotWriteError: If it cannot be read at the beginning, or written at the end.
    """
    if not url:
        yield lambda: None
        return
    backup = Backup(url, run)
    backup.begin()

    def copy():
        try:
            backup.copy()
        except CannotWriteError as error:
            logging.warning("%s It is tried again with the next checkpoint.", error)

    yield copy
    backup.copy()


class Backup:
    """The copy of one run, as this process sees it.

    Args:
        url: Where it is.
        run: Of what.
    """

    def __init__(self, url: str, run: RunDirectory):
        self._url = url.rstrip("/")
        self._run = run
        self._owner = {
            "run": secrets.token_hex(16),
            "writer": secrets.token_hex(16),
            "host": socket.gethostname(),
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        # What was copied by this process: size and time of change of the run's file.
        self._copied: dict[str, tuple[int, int]] = {}
        self._began = False

    def begin(self) -> None:
        """Brings the run from its copy where it is not there, and checks that they belong together.

        Raises:
            InputError, CannotWriteError: See `backed_up`.
        """
        with self._explained("read"):
            names = self._names()
            owner = self._read_owner()
        if owner is None and names:
            raise InputError(
                "The folder for a copy of the run holds something else. Received: "
                f"--backup_dir={self._url} with {names[0]}, and no {_OWNER}. Expected a folder "
                "that is empty or missing, or the copy of this run."
            )
        if owner and self._run.exists():
            self._check_same_run(names, owner)
        elif owner:
            self._bring(names)
        # One that was brought has the name that its copy has.
        self._owner["run"] = self._run_id() or self._owner["run"]

    def copy(self) -> None:
        """Copies what has changed since the last time.

        Raises:
            InputError: If another process has begun to write here.
            CannotWriteError: If it cannot be written.
        """
        with self._explained("written"):
            tf.io.gfile.makedirs(self._url)
            if self._began:
                self._check_writer()
            else:
                text = json.dumps(self._owner, indent=1)
                with write_atomically(self._run.path / _OWNER) as file:
                    file.write(text)
                self._write(_OWNER, text)
                self._began = True
            files = _files(self._run.path)
            for name in sorted(files, key=_order):
                self._copy_file(name, files[name])
            self._remove_all_but(set(files))

    def _names(self) -> list[str]:
        """Names of the files of the copy, below it."""
        if not tf.io.gfile.exists(self._url):
            return []
        if not tf.io.gfile.isdir(self._url):
            raise InputError(
                f"The place for a copy of the run is a file. Received: --backup_dir={self._url}. "
                "Expected a folder, or a name that is still free."
            )
        found = []
        for folder, _, names in tf.io.gfile.walk(self._url):
            inside = folder.rstrip("/")[len(self._url) :].lstrip("/")
            found += [f"{inside}/{name}" if inside else name for name in names]
        # Names in object stores are any text, and must not lead out of the run's folder.
        return sorted(name for name in found if ".." not in name.split("/"))

    def _read_owner(self) -> dict | None:
        path = self._at(_OWNER)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            return _owner_of(file.read(), path)

    def _run_id(self) -> str | None:
        """What the run is called in its copies; None before its first one."""
        path = self._run.path / _OWNER
        return _owner_of(path.read_text(errors="replace"), path)["run"] if path.exists() else None

    def _bring(self, names: list[str]) -> None:
        """Makes the run's folder from its copy."""
        there = os.listdir(self._run.path) if self._run.path.is_dir() else []
        if others := sorted(name for name in there if not name.startswith(".")):
            raise InputError(
                "The run cannot be brought from its copy, as its folder holds something else. "
                f"Received: --run_dir={self._run.path} with {others[0]}. Expected a run, or a "
                "folder that is empty or missing."
            )
        print(f"The run is brought from {self._url}", flush=True)
        with write_directory_atomically(self._run.path) as folder, self._explained("read"):
            for name in names:
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                tf.io.gfile.copy(self._at(name), os.fspath(place))

    def _check_same_run(self, names: list[str], owner: dict) -> None:
        if self._run_id() != owner["run"]:
            raise InputError(
                "The folder for a copy of the run holds the copy of another run. Received: "
                f"--backup_dir={self._url} with --run_dir={self._run.path}. Use another "
                "--backup_dir, or a --run_dir that is free, to go on from this copy."
            )
        copied = newest_place(
            pathlib.PurePosixPath(name).parent.name
            for name in names
            if name.startswith("checkpoints/") and name.endswith(f"/{SUMS}")
        )
        here = newest_place(path.name for path in self._run.newest_checkpoints())
        if copied is not None and (here is None or here < copied):
            raise InputError(
                "The copy of the run has come further than the run itself. Received: "
                f"--backup_dir={self._url}, after {copied}, with --run_dir={self._run.path}, after "
                f"{here or 'nothing'}. To go on from the copy, move the run's folder away: it is "
                "brought from there again. To go on from the folder, use another --backup_dir."
            )

    def _check_writer(self) -> None:
        owner = self._read_owner()
        if owner is None or owner["writer"] != self._owner["writer"]:
            who = f"by {owner['host']} since {owner['since']}" if owner else "by someone"
            raise InputError(
                "The copy of the run was taken over. Received: "
                f"--backup_dir={self._url}, which is written {who}. This process ends, so that "
                f"the run does not go two ways; its own is kept in {self._run.path}."
            )

    def _copy_file(self, name: str, path: pathlib.Path) -> None:
        state = path.stat()
        mark = (state.st_size, state.st_mtime_ns)
        if name == _OWNER or self._copied.get(name) == mark:
            return
        tf.io.gfile.makedirs(os.path.dirname(self._at(name)))
        tf.io.gfile.copy(os.fspath(path), self._at(name), overwrite=True)
        self._copied[name] = mark

    def _remove_all_but(self, kept: set[str]) -> None:
        for name in self._names():
            if name.startswith(tuple(f"{folder}/" for folder in _OWN_FOLDERS)):
                if name not in kept:
                    tf.io.gfile.remove(self._at(name))
                    self._copied.pop(name, None)

    def _write(self, name: str, text: str) -> None:
        with tf.io.gfile.GFile(self._at(name), "w") as file:
            file.write(text)

    def _at(self, name: str) -> str:
        return f"{self._url}/{name}"

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Tells in a sentence what went wrong between here and there."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            reason = " ".join((getattr(error, "message", None) or str(error)).split())
            raise CannotWriteError(
                f"The copy of the run cannot be {done}. Received: --backup_dir={self._url} "
                f"({reason}). Expected a folder that this machine may read and write. The run "
                f"itself is kept in {self._run.path}: the same command goes on, and copies it."
            ) from error


def _owner_of(text: str, path: str | os.PathLike) -> dict:
    """What backup.json says.

    Raises:
        InputError: If it is damaged.
    """
    with contextlib.suppress(ValueError):
        owner = json.loads(text)
        if isinstance(owner, dict) and {"run", "writer", "host", "since"} <= owner.keys():
            return owner
    raise InputError(
        f"The file that says which run a copy is of is damaged. Received: {path}. Expected what "
        "--backup_dir writes there. Bring it back, or use another --backup_dir."
    )


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """All files of a run by their name below it, but those that are locked or being written."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _order(name: str) -> tuple:
    """Checkpoints come first, and in each of them what makes it one last."""
    return (
        not name.startswith("checkpoints/"),
        os.path.dirname(name),
        name.endswith(f"/{SUMS}"),
        name,
    )
