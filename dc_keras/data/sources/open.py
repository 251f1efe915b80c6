"""Opens a data set of any kind by what the user calls it."""

import dataclasses
import glob
import hashlib
import itertools
import os
from collections.abc import Sequence

import tensorflow as tf

from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.sources import array_records, tfds, tfrecords
from dc_keras.data.sources.archive_index import kind_of_archive, read_index
from dc_keras.data.sources.archives import ArchiveSource, OpenArchive
from dc_keras.data.sources.arrays import open_digits, open_npz
from dc_keras.data.sources.findings import Findings
from dc_keras.data.sources.folder import FolderSource, TieBreaks, in_order, of_files
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.labels import FOLDERS, give_labels, numbered_classes
from dc_keras.data.sources.listing import (
    Listing,
    list_folder,
    list_matches,
    list_members,
    list_named,
)
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.data.sources.tables import is_table, read_table
from dc_keras.errors import InputError
from dc_keras.paths import absolute, is_remote

DIGITS = "sklearn:digits"
OUTSIDE = "image outside of the class folders"


def open_source(data_dir: str, labels: str = "", options: PixelOptions = USUAL) -> ImageSource:
    """Opens a data set.

    Args:
        data_dir: One of
            a folder: its image files (JPEG, PNG, BMP, GIF, WebP, and through Pillow TIFF, PPM, JPEG
            2000, AVIF and HEIC; by content, whatever their names) at any depth, links followed
            (what several lead to is read once), without hidden files and folders; what else is
            passed over is told in its `findings`.
            There are labels when every image lies in a sub-folder: the first one names the class;
            a pattern such as `/data/*/left_*.jpg`: the images that it matches, and those in folders
            that it matches;
            a `.txt` file with the path of an image on each line, or a `.csv` file with the columns
            path and perhaps label; paths are from the file's folder on. See `tables`;
            a `.zip` or plain `.tar` archive of such a folder, which is not unpacked; a folder in it
            that holds all images is taken for the data folder. See `archives`;
            an `.npz` file: `images` uint8 (n, h, w, 1 or 3), and perhaps `labels`, integers (n,);
            a folder of TFRecord shards, or a pattern such as `/data/train-*-of-*`; see `tfrecords`;
            a folder that `dc-keras pack` made; see `array_records`;
            `tfds:NAME` or `tfds:NAME@SPLIT`: a data set of TensorFlow Datasets; see `tfds`;
            `sklearn:digits`: the 1,797 grey 8x8 digits that come with scikit-learn.
            All but packed folders and archives may be on any file system of `tf.io.gfile`, such as `gs://`.
        labels: Empty for those that the data set has; "folders" for the sub-folders' names, without
            images outside of them; "none"; or a CSV file of path and label, see `give_labels`.
        options: How all that reads the images makes pixels of them.

    Returns:
        The source, with at least one image.

    Raises:
        InputError: If there is no such folder or file, or it holds no images, or the arrays have
            another shape or dtype, or shards are missing or damaged.

    >>> source = open_source("sklearn:digits")
    >>> len(source), source.names[0], source.class_names[:3]
    (1797, 'digits/000000', ('0', '1', '2'))
    """
    only_in_folders = labels == FOLDERS
    source = _open(data_dir, only_in_folders)
    if only_in_folders and not isinstance(source, FolderSource | ArchiveSource):
        raise InputError(
            f"There are no folders to take labels from. Received: --labels={FOLDERS} with "
            f"--data_dir={data_dir}. Leave it out, or give a folder of images."
        )
    if labels and not only_in_folders:
        give_labels(source, labels)
    return source.read_with(options)


def _open(data_dir: str, only_in_folders: bool) -> ImageSource:
    if data_dir == DIGITS:
        return open_digits()
    if data_dir.startswith(tfds.PREFIX):
        return tfds.open_tfds(data_dir)
    try:
        # As bytes, paths need not be UTF-8.
        is_folder = tf.io.gfile.isdir(os.fsencode(data_dir))
        exists = tf.io.gfile.exists(os.fsencode(data_dir))
        matches = [] if exists else _glob(data_dir)
    except tf.errors.OpError as error:
        raise InputError(
            f"The data set cannot be reached. Received: {data_dir!r} ({error.message}). "
            "Check the path and the permissions."
        ) from error
    if is_folder:
        return _open_folder(data_dir, only_in_folders)
    paths = matches or [data_dir] * exists
    _check_regular(paths)
    if exists and is_table(data_dir):
        return _open_table(data_dir, only_in_folders)
    if data_dir.lower().endswith(".npz"):
        return open_npz(data_dir)
    if paths and all(tfrecords.is_shard(path) for path in paths):
        return tfrecords.open_tfrecords(paths)
    if exists and not is_remote(data_dir) and (kind := kind_of_archive(data_dir)):
        return _open_archive(data_dir, kind, only_in_folders)
    if matches:
        root = _folder_before(data_dir)
        return _source_of(root, list_matches(root, matches), only_in_folders)
    what = "The data set is a file" if paths else "The data folder is not there"
    raise InputError(
        f"{what}. Received: {data_dir!r} (that is {absolute(data_dir)!r}). Expected: a folder of "
        "images or a pattern of them, a .zip or .tar archive, a .csv or .txt list, an .npz file, "
        "TFRecord shards (a folder "
        f"of them, or a pattern such as train-*-of-*), a packed folder, tfds:NAME, or {DIGITS!r}. "
        "Check the path."
    )


def _check_regular(paths: Sequence[str]) -> None:
    """Refuses what may never end when it is read; images among them are passed over elsewhere."""
    for path in paths:
        known = not is_remote(path) and (tfrecords.is_shard(path) or len(paths) == 1)
        if known and os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            raise InputError(
                f"The data set is a pipe, device or socket. Received: {path!r}. Expected: a folder "
                "or regular files. Check the path."
            )


def _glob(pattern: str) -> list[str]:
    if is_remote(pattern):
        return [os.fsdecode(path) for path in tf.io.gfile.glob([os.fsencode(pattern)])]
    # Python's knows "**", too, and leaves hidden files out.
    return sorted(glob.glob(pattern, recursive=True))


def _folder_before(pattern: str) -> str:
    """The folder up to the first part that is a pattern."""
    parts = pattern.split("/")
    fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")


def _open_folder(root: str, only_in_folders: bool) -> ImageSource:
    if tf.io.gfile.exists(os.fsencode(os.path.join(root, array_records.PACKED))):
        return _open_packed(root)
    try:
        listing = list_folder(root)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The data folder cannot be listed. Received: {root!r} ({error}). "
            "Expected: a folder that may be read. Check its permissions."
        ) from error
    if listing.shards and not listing.images:
        return tfrecords.open_tfrecords(["/".join([root, *parts]) for parts in listing.shards])
    source = _source_of(root, listing, only_in_folders)
    if listing.shards:
        name = "/".join(listing.shards[0])
        source.findings = source.findings.also(
            f"TFRecord shards lie beside images, which alone are used. To use the shards instead, "
            f"name them: --data_dir={os.path.join(root, name)}, or a pattern."
        )
    return source


def _source_of(root: str, listing: Listing, only_in_folders: bool) -> FolderSource:
    """The source of listed images, with labels where all of them lie in sub-folders."""
    paths, findings = _checked(root, listing, only_in_folders)
    paths, folders = in_order(paths, of_files(root))
    source = FolderSource(root, ["/".join(parts) for parts in paths])
    if folders:
        source.labels, source.class_names = numbered_classes(folders)
    source.findings = findings
    return source


def _open_archive(path: str, kind: str, only_in_folders: bool) -> ArchiveSource:
    """The source of the images in an archive, with labels as for a folder.

    A folder that holds all images is left out of account: archives often begin with one.
    """
    archive = OpenArchive(path)
    members, passed, notes = read_index(path, kind)

    def read(parts, size):
        member = members[parts]
        return archive.read(member) if size is None else archive.start(member, size)

    listing = list_members(members, read, passed)
    depth = _common_depth(listing.images)
    common = listing.images[0][:depth] if listing.images else ()
    inner = dataclasses.replace(listing, images=[parts[depth:] for parts in listing.images])
    paths, findings = _checked(path, inner, only_in_folders)

    def digest(parts):
        try:
            return hashlib.sha256(read((*common, *parts), None)).digest()
        except tf.errors.OpError:
            return b""

    ties = TieBreaks(lambda parts: members[(*common, *parts)].size, digest)
    paths, folders = in_order(paths, ties)
    full = [(*common, *parts) for parts in paths]
    source = ArchiveSource(
        archive,
        [members[parts] for parts in full],
        "".join(f"{part}/" for part in common),
        ["/".join(parts) for parts in full],
    )
    if folders:
        source.labels, source.class_names = numbered_classes(folders)
    source.findings = findings.also(*notes)
    return source


def _common_depth(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders all images lie in."""
    if not paths:
        return 0
    # Of sorted paths, the first and the last have least in common.
    pairs = zip(paths[0][:-1], paths[-1][:-1], strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _checked(
    root: str, listing: Listing, only_in_folders: bool
) -> tuple[list[tuple[str, ...]], Findings]:
    """The listed images that are used, and what was found beside them.

    Raises:
        InputError: If there are none.
    """
    paths, findings = listing.images, listing.findings
    if only_in_folders:
        outside = tuple((parts[0], OUTSIDE) for parts in paths if len(parts) == 1)
        paths, findings = (
            [parts for parts in paths if len(parts) > 1],
            findings.also(passed_over=outside),
        )
    if not paths:
        passed = findings.counts()
        raise InputError(
            f"There are no images in the data set. Received: {root!r} (that is "
            f"{absolute(root)!r}){f' with {passed}' if passed else ''}. Expected: images such as "
            "JPEG or PNG, in the folder or archive or its sub-folders. Check the path."
            + "".join(f" {note}" for note in findings.notes)
        )
    return paths, findings


def _open_table(path: str, only_in_folders: bool) -> FolderSource:
    """The source of the images that a list names; its names are the paths as they are listed."""
    table = read_table(path)
    root = path.rpartition("/")[0] or "."
    listing = list_named(root, table.paths)
    if not listing.images:
        raise InputError(
            f"The list names no images. Received: {path!r} with {listing.findings.counts()}. "
            "Expected: paths of images from the list's folder on, or absolute ones."
        )
    # Sorted by what lies below the folder that all of them have in common, as a folder is.
    full = [os.path.normpath(os.path.join(absolute(root), name)) for (name,) in listing.images]
    common = os.path.commonpath([os.path.dirname(place) for place in full])
    by_parts: dict[tuple[str, ...], str] = {}
    twice = []
    for place, (name,) in zip(full, listing.images, strict=True):
        parts = tuple(os.path.relpath(place, common).split(os.sep))
        if by_parts.setdefault(parts, name) != name:
            twice.append((name, "file listed twice"))
    paths, folders = in_order(sorted(by_parts), of_files(common))
    names = [by_parts[parts] for parts in paths]
    source = FolderSource(root, names)
    if table.labels and not only_in_folders:
        listed = dict(zip(table.paths, table.labels, strict=True))
        source.labels, source.class_names = numbered_classes([listed[name] for name in names])
    elif folders:
        source.labels, source.class_names = numbered_classes(folders)
    source.findings = listing.findings.also(passed_over=tuple(twice))
    return source


def _open_packed(root: str) -> array_records.ArrayRecordSource:
    if is_remote(root):
        raise InputError(
            f"A packed data set must be on a local or mounted disk. Received: {root!r}. The "
            "library array_record reads no other. Copy the folder, or use TFRecord shards."
        )
    manifest = read_manifest(os.path.join(root, array_records.MANIFEST))
    return array_records.open_packed(root, manifest.names, manifest.labels)
