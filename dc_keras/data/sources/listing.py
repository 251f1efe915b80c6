"""Which files below a folder are images: by content, wherever the name leaves it open.

Looking at a file takes a request or two of its file system, so it is done in threads, and a file
is opened only if neither an image nor anything else is what its name promises.
"""

import collections
import dataclasses
import errno
import heapq
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from dc_keras.data.sources import file_kinds, tfrecords
from dc_keras.data.sources.converted import reads_heic
from dc_keras.data.sources.file_kinds import CONVERTED, DECODED, HEIC, IMAGE_SUFFIXES, SEVERAL_PAGES
from dc_keras.data.sources.findings import Findings
from dc_keras.paths import is_remote

Parts = tuple[str, ...]

# More than any image of as many pixels as are read takes. What is larger would fill the memory.
MAX_FILE_BYTES = 1 << 30

SPECIAL, TOO_LARGE, DAMAGED = "special file", "file above 1 GiB", "damaged file"
BROKEN_LINK, MISSING, LOCKED = "broken link", "missing file", "file that may not be read"
LOCKED_FOLDER = "folder that cannot be listed"
# Not looked at, for the inspection will.
_IMAGE = "image by its name"
_THREADS, _AT_A_TIME = 16, 256


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files below a folder.

    Attributes:
        images: Paths of those that look like images, as their parts, sorted.
        shards: Paths of TFRecord shards at the top, sorted; they are counted as passed over.
        findings: What else there is.
    """

    images: list[Parts]
    shards: list[Parts]
    findings: Findings


def list_folder(root: str) -> Listing:
    """Lists a folder and all folders below, without those that systems leave there.

    Args:
        root: On any file system of `tf.io.gfile`.

    Raises:
        OSError: If the folder itself cannot be listed.
        tf.errors.OpError: The same, on a file system of TensorFlow.
    """
    passed: list[tuple[Parts, str]] = []
    reasons: dict[str, str] = {}
    if is_remote(root):
        return sort_out(_walk_remote(root, passed), lambda parts: _kind_remote(root, parts), passed)

    return _sort_out_local(root, _walk(root, passed, reasons), passed, reasons)


def list_matches(root: str, matches: Iterable[str]) -> Listing:
    """Lists what a pattern matches: files, and all that is in folders.

    Args:
        root: The folder up to the first part of the pattern that is none.
        matches: Paths below it.
    """
    passed: list[tuple[Parts, str]] = []
    reasons: dict[str, str] = {}
    found = [tuple(path.removeprefix(root).strip("/").split("/")) for path in sorted(matches)]
    # "*" matches what systems leave, too.
    places = list(_without_system(found, passed))
    if is_remote(root):
        return sort_out(places, lambda parts: _kind_remote(root, parts), passed)
    folders = [parts for parts in places if os.path.isdir(os.path.join(root, *parts))]
    # A pattern may match a folder and a file in it.
    files = set(places) - set(folders)
    if folders:
        files.update(_walk(root, passed, reasons, folders))
    return _sort_out_local(root, files, passed, reasons)


def _sort_out_local(
    root: str, files: Iterable[Parts], passed: list[tuple[Parts, str]], reasons: dict[str, str]
) -> Listing:
    """`sort_out` of files below a local folder, with the reasons of folders that cannot be listed.

    They are complete when `files` has ended, as what is passed over.
    """
    listing = sort_out(files, lambda parts: kind_of_file(os.path.join(root, *parts)), passed)
    findings = dataclasses.replace(listing.findings, unreadable_folders=reasons)
    return dataclasses.replace(listing, findings=findings)


def list_named(root: str, names: Iterable[str]) -> Listing:
    """Looks at files that a list names, each once.

    Args:
        root: The folder that paths are from.
        names: Paths; each is a part to itself.
    """

    def kind(parts):
        if is_remote(root):
            return _kind_remote(root, parts)
        return kind_of_file(os.path.join(root, parts[0]))

    return sort_out(((name,) for name in dict.fromkeys(names)), kind, [])


def list_members(
    names: Iterable[Parts],
    read: Callable[[Parts, int | None], bytes],
    passed: list[tuple[Parts, str]],
) -> Listing:
    """Lists the files of an archive, without those that systems leave there.

    Args:
        names: Their paths.
        read: Gives at most so many of the first bytes of one, or all; called in threads.
        passed: Paths and kinds of what is passed over anyway.
    """

    def kind(parts):
        if told := _kind_by_name(parts[-1]):
            return told
        try:
            kind = file_kinds.kind_of_start(read(parts, file_kinds.START))
            if kind == "TIFF" and file_kinds.has_several_pages(io.BytesIO(read(parts, None))):
                return SEVERAL_PAGES
            return kind
        except tf.errors.OpError:
            return DAMAGED

    return sort_out(_without_system(names, passed), kind, passed)


def sort_out(
    files: Iterable[Parts], kind: Callable[[Parts], str], passed: list[tuple[Parts, str]]
) -> Listing:
    """Tells images from other files.

    Args:
        files: Paths as their parts.
        kind: What a file is; called in threads.
        passed: Paths and kinds of what is passed over anyway; complete when `files` has ended.
    """
    images, kinds = [], collections.Counter[str]()
    readable = {_IMAGE, *DECODED, *CONVERTED} - (set() if reads_heic() else {HEIC})
    others: list[tuple[Parts, str]] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        looked_at = threads.map(
            lambda batch: [(parts, kind(parts)) for parts in batch], _batches(files)
        )
        for parts, found in itertools.chain.from_iterable(looked_at):
            if found in readable:
                images.append(parts)
                kinds[found] += 1
            else:
                others.append((parts, found))
    others = sorted(others + passed)
    findings = Findings(tuple(("/".join(parts), kind) for parts, kind in others))
    shards: list[Parts] = [
        parts for parts, kind in others if len(parts) == 1 and kind == file_kinds.SHARD
    ]
    return Listing(sorted(images), shards, findings.also(*_notes(kinds, others)))


def kind_of_file(path: str) -> str:
    """What a local file is. Only regular files of a sane size are opened."""
    name = os.path.basename(path)
    is_named_image = name.lower().endswith(IMAGE_SUFFIXES)
    try:
        # What a link leads to: it may be a device as well.
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return "folder"
        if not stat.S_ISREG(status.st_mode):
            return SPECIAL
        if status.st_size > MAX_FILE_BYTES:
            return file_kinds.SHARD if tfrecords.is_shard(name) else TOO_LARGE
        if told := _kind_by_name(name):
            return told
        with open(path, "rb") as file:
            kind = file_kinds.kind_of_start(file.read(file_kinds.START))
            return SEVERAL_PAGES if kind == "TIFF" and file_kinds.has_several_pages(file) else kind
    except OSError as error:
        # Those that promise to be images are reported as unreadable.
        if is_named_image:
            return _IMAGE
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            return LOCKED
        return BROKEN_LINK if os.path.islink(path) else MISSING


def _kind_by_name(name: str) -> str:
    """What a file is by its name; empty where its content must be looked at."""
    if name.lower().endswith(IMAGE_SUFFIXES):
        return _IMAGE
    return file_kinds.SHARD if tfrecords.is_shard(name) else file_kinds.kind_of_name(name)


def _kind_remote(root: str, parts: Parts) -> str:
    if told := _kind_by_name(parts[-1]):
        return told
    try:
        with tf.io.gfile.GFile(os.fsencode("/".join([root, *parts])), "rb") as file:
            return file_kinds.kind_of_start(file.read(file_kinds.START))
    except tf.errors.OpError:
        return LOCKED


def _batches(files: Iterable[Parts]) -> Iterator[list[Parts]]:
    files = iter(files)
    while batch := list(itertools.islice(files, _AT_A_TIME)):
        yield batch


def _notes(kinds: collections.Counter[str], others: list[tuple[Parts, str]]) -> list[str]:
    """What is to say about formats."""
    notes = []
    several = kinds.pop(SEVERAL_PAGES, 0)
    kinds["TIFF"] += several
    converted = [f"{kinds[kind]:,} {kind}" for kind in CONVERTED if kinds[kind]]
    if converted:
        notes.append(
            f"Read through Pillow: {', '.join(converted)}. That takes several times as long as "
            "JPEG or PNG, each time; --cache=ram or disk and dc-keras pack do it once."
        )
    if several:
        notes.append(f"Of {several:,} TIFF of several pages the first page is taken.")
    if any(kind == HEIC for _, kind in others):
        notes.append("To read HEIC, install the library pillow-heif: pip install pillow-heif")
    return notes


def _walk(
    root: str,
    passed: list[tuple[Parts, str]],
    reasons: dict[str, str],
    start: Sequence[Parts] = ((),),
) -> Iterator[Parts]:
    """Yields the path of every file that may be an image.

    A folder is read once, whatever leads to it: at its own place if that is below the root, else by
    the first of its links by name. So links in circles end, and folders that all link to each other
    are not listed once for each way through them.

    Args:
        root: The folder.
        passed: Gets what is passed over by its name, and folders that cannot be listed.
        reasons: Gets why these cannot be listed, by path.
        start: The folders to begin with.
    """
    seen = set()
    folders: list[Parts] = list(start)
    links: list[Parts] = []
    while folders or links:
        parts = folders.pop() if folders else heapq.heappop(links)
        folder = os.path.join(root, *parts)
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError as error:
            if not parts:
                raise
            passed.append((parts, LOCKED_FOLDER))
            reasons["/".join(parts)] = f"the folder cannot be listed: {error.strerror}"
            continue
        for entry in entries:
            path = (*parts, entry.name)
            if entry.name.startswith("."):
                continue
            if kind := file_kinds.is_system(entry.name):
                passed.append((path, kind))
            elif not _is_folder(entry):
                # A broken link is listed, so that it is reported and not passed over in silence.
                yield path
            elif entry.is_symlink():
                heapq.heappush(links, path)
            else:
                folders.append(path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself leads nowhere, like one to a file that is gone.


def _walk_remote(root: str, passed: list[tuple[Parts, str]]) -> Iterator[Parts]:
    """`_walk` for file systems that have no links."""
    files = (
        (*filter(None, folder.removeprefix(root).split("/")), name)
        for folder, _, names in tf.io.gfile.walk(root)
        for name in names
    )
    return _without_system(files, passed)


def _without_system(files: Iterable[Parts], passed: list[tuple[Parts, str]]) -> Iterator[Parts]:
    """Leaves out hidden files and those of systems; folders of these are told once."""
    told = set()
    for parts in files:
        if any(part.startswith(".") for part in parts):
            continue
        systems = [at for at, part in enumerate(parts) if file_kinds.is_system(part)]
        if not systems:
            yield parts
            continue
        place = parts[: systems[0] + 1]
        if place not in told:
            told.add(place)
            passed.append((place, file_kinds.is_system(place[-1])))
