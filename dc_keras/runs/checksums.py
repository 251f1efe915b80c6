"""SHA256SUMS: the checksums of a folder's files, as `sha256sum --check SHA256SUMS` reads them."""

import hashlib
import pathlib
import re
from collections.abc import Collection

SUMS = "SHA256SUMS"


class DamagedFilesError(Exception):
    """Files that are not as they were written."""


def write_sums(folder: pathlib.Path) -> None:
    """Writes the checksums of all files of a folder into it."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    sums = "".join(f"{_sha256(folder / name)}  {name}\n" for name in names)
    (folder / SUMS).write_text(sums)


def check_sums(folder: pathlib.Path, required: Collection[str], known: Collection[str]) -> None:
    """Compares files with their checksums. Reads each once.

    Args:
        folder: Where SHA256SUMS is.
        required: Names of files that must be there.
        known: Names of all files that are written together; those that are there must be listed.

    Raises:
        DamagedFilesError: Names the first file that is missing or differs.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFilesError(f"{SUMS} cannot be read: {error}") from error
    listed = {}
    for line in lines:
        match = re.fullmatch(r"([0-9a-f]{64})  ([^/\0]+)", line)
        if match is None or match[2] in (".", ".."):
            raise DamagedFilesError(f"{SUMS} names something else than a file of its folder")
        listed[match[2]] = match[1]
    there = {name for name in known if (folder / name).exists()}
    if not {*required, *there} <= set(listed):
        raise DamagedFilesError(f"{SUMS} is cut off")
    for name, checksum in listed.items():
        try:
            if not (folder / name).is_file():
                raise DamagedFilesError(f"{name} is missing")
            if _sha256(folder / name) != checksum:
                raise DamagedFilesError(f"{name} differs from its checksum")
        except OSError as error:
            raise DamagedFilesError(f"{name} cannot be read: {error}") from error


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
