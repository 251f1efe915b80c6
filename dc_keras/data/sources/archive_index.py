"""Which files a zip or tar archive holds, and where their bytes lie: what is needed to read one.

Nothing is unpacked. An archive may come from anybody, so what its index says is compared with the
archive itself, and files that could not be what they seem are passed over with the reason.
"""

import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from dc_keras.data.sources.listing import DAMAGED, MAX_FILE_BYTES, SPECIAL, TOO_LARGE, Parts
from dc_keras.errors import InputError

LINK, ENCRYPTED, BADLY_NAMED = "link", "encrypted file", "badly named file"
REPLACED, OVERLAPPING = "replaced file", "overlapping file"
UNUSUAL, BOMB = "unusually packed file", "suspiciously compressed file"
NO_END = (
    "The archive has no mark at its end. If it was cut off exactly behind a file, others are "
    "missing: compare its size with that of the original."
)

# What unpacks to more than the first of these must not be the second times as much as is packed.
# Images hardly reach 20; deflate can reach 1,032.
_BOMB_BYTES, _BOMB_RATIO = 16 << 20, 200
# Of an entry that describes a file in a tar archive; longest paths take 4 KiB.
_LARGEST_HEADER = 1 << 20
_BLOCK = 512
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UTF8, _IS_ENCRYPTED = 0x800, 0x2041
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!", "rar"),
)  # fmt: skip


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        offset: Where its bytes begin in the archive.
        stored: How many there are.
        size: How many it has when unpacked.
        deflated: Whether the two differ.
        checksum: CRC-32 of the unpacked bytes, None in tar archives, which have none.
    """

    offset: int
    stored: int
    size: int
    deflated: bool = False
    checksum: int | None = None


class Index(NamedTuple):
    """What an archive holds.

    Attributes:
        members: Files by their path as its parts.
        passed_over: Paths and kinds of what is not looked at.
        notes: Sentences about the rest.
    """

    members: dict[Parts, Member]
    passed_over: list[tuple[Parts, str]]
    notes: tuple[str, ...] = ()


def kind_of_archive(path: str) -> str:
    """Whether a local file is a "zip" or "tar" archive, by its content; empty for others.

    Raises:
        InputError: If it cannot be read, or is an archive that cannot be read at any place.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_BLOCK)
    except OSError as error:
        raise InputError(
            f"The data set cannot be read. Received: {path!r} ({error.strerror}). Check its "
            "permissions."
        ) from error
    name = path.lower()
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or name.endswith(".zip"):
        return "zip"
    if start[257:262] == b"ustar" or name.endswith(".tar"):
        return "tar"
    for signature, kind in _COMPRESSED:
        if start.startswith(signature):
            raise InputError(
                f"The data set is compressed as a whole, so that no image can be read without all "
                f"before it. Received: {path!r} ({kind}). Expected: a .zip or plain .tar archive, "
                "or a folder. Unpack it, or pack it anew as one of these."
            )
    return ""


def read_index(path: str, kind: str) -> Index:
    """Reads the index of an archive.

    Args:
        path: A local file.
        kind: "zip" or "tar".

    Raises:
        InputError: If it is damaged or cut off.
    """
    try:
        return _read_zip(path) if kind == "zip" else _read_tar(path)
    # What the two libraries meet damaged archives with.
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        OSError,
        ValueError,
        EOFError,
        NotImplementedError,
        RecursionError,
        OverflowError,
        struct.error,
    ) as error:
        raise InputError(
            f"The archive cannot be read. Received: {path!r} ({error or type(error).__name__}). "
            f"Expected: a whole {kind} archive. Fetch or pack it again."
        ) from error


class _Sorted:
    """Files that were accepted, and others with the reason."""

    def __init__(self, archive_bytes: int):
        self.members: dict[Parts, Member] = {}
        self.passed_over: list[tuple[Parts, str]] = []
        self._archive_bytes = archive_bytes

    def add(self, name: str, member: Member) -> None:
        """Takes a file, unless something about it is wrong."""
        parts, is_good = _parts(name)
        if not is_good:
            self.pass_over(name, BADLY_NAMED)
        elif why := self._why_not(member):
            self.pass_over(name, why)
        else:
            # Whoever unpacks the archive is left with the last one.
            if parts in self.members:
                self.passed_over.append((parts, REPLACED))
            self.members[parts] = member

    def pass_over(self, name: str, kind: str) -> None:
        """Counts something that is not looked at."""
        self.passed_over.append((_parts(name)[0] or (name,), kind))

    def _why_not(self, member: Member) -> str:
        end = member.offset + member.stored
        if min(member.offset, member.stored, member.size) < 0 or end > self._archive_bytes:
            return DAMAGED
        if not member.deflated and member.size != member.stored:
            return DAMAGED
        if member.size > MAX_FILE_BYTES:
            return TOO_LARGE
        if member.size > _BOMB_BYTES and member.size > _BOMB_RATIO * member.stored:
            return BOMB
        return ""


def _parts(name: str) -> tuple[Parts, bool]:
    """A path as its parts, and whether it leads to a place below the archive, by one way alone."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    doubled = "//" in name or name.startswith("/") or "\0" in name
    return parts, bool(parts) and not doubled and ".." not in parts


def _read_zip(path: str) -> Index:
    size = os.path.getsize(path)
    found = _Sorted(size)
    end = 0
    with open(path, "rb", buffering=0) as file, zipfile.ZipFile(path) as archive:
        # Bombs let many files share the same bytes.
        for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
            name = _zip_name(entry)
            if name.endswith("/"):
                continue
            if kind := _zip_kind(entry):
                found.pass_over(name, kind)
                continue
            offset = _data_offset(file.fileno(), entry)
            if offset is None:
                found.pass_over(name, DAMAGED)
            elif entry.header_offset < end:
                found.pass_over(name, OVERLAPPING)
            else:
                end = offset + entry.compress_size
                deflated = entry.compress_type == zipfile.ZIP_DEFLATED
                member = Member(offset, entry.compress_size, entry.file_size, deflated, entry.CRC)
                found.add(name, member)
    return Index(found.members, found.passed_over)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The path of a file; some programs of Windows part folders by backslashes."""
    return entry.filename.replace("\\", "/") if _is_of_windows(entry) else entry.filename


def _is_of_windows(entry: zipfile.ZipInfo) -> bool:
    """Whether the file was packed where no name has a backslash or colon."""
    return entry.create_system in (0, 10)


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    """What speaks against a file already in its entry of the index."""
    mode = entry.external_attr >> 16
    if stat.S_ISLNK(mode):
        return LINK
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return SPECIAL
    if entry.flag_bits & _IS_ENCRYPTED:
        return ENCRYPTED
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return UNUSUAL
    if _is_of_windows(entry) and ":" in entry.filename:
        return BADLY_NAMED
    # Names end at a zero byte for whoever unpacks them.
    return BADLY_NAMED if "\0" in entry.orig_filename else ""


def _data_offset(descriptor: int, entry: zipfile.ZipInfo) -> int | None:
    """Where the bytes of a file begin; None if what stands before them is not of this file."""
    header = os.pread(descriptor, _LOCAL_HEADER.size, max(entry.header_offset, 0))
    if len(header) < _LOCAL_HEADER.size:
        return None
    signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    name = os.pread(descriptor, name_bytes, entry.header_offset + _LOCAL_HEADER.size)
    encoding = "utf-8" if entry.flag_bits & _UTF8 else "cp437"
    if signature != b"PK\x03\x04" or name.decode(encoding, "replace") != entry.orig_filename:
        return None
    return entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes


class _TarFile(io.FileIO):
    """Refuses to read descriptions of files that would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"an entry's description takes {size:,} bytes")
        return super().read(size) or b""


def _read_tar(path: str) -> Index:
    size = os.path.getsize(path)
    found = _Sorted(size)
    with _TarFile(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for entry in _entries(archive):
            if entry.isdir():
                continue
            if entry.issym() or entry.islnk():
                found.pass_over(entry.name, LINK)
            elif not entry.isreg():
                found.pass_over(entry.name, SPECIAL)
            elif entry.issparse():
                found.pass_over(entry.name, UNUSUAL)
            else:
                found.add(entry.name, Member(entry.offset_data, entry.size, entry.size))
        end = os.pread(file.fileno(), _BLOCK, archive.offset)
    if end.strip(b"\0"):
        raise tarfile.ReadError(f"no entry begins at byte {archive.offset:,}")
    return Index(found.members, found.passed_over, () if len(end) == _BLOCK else (NO_END,))


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    at = -1
    while (entry := archive.next()) is not None:
        if archive.offset <= at:
            raise tarfile.ReadError(f"the entry at byte {at:,} leads back")
        at = archive.offset
        yield entry
        # The library keeps all of them: 1 KB a file.
        archive.members = []  # type: ignore[attr-defined]
