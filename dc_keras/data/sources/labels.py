"""Labels that the user names beside the images, and what is said of them.

Labels are never trained on: they serve figures alone.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from dc_keras.data.sources.archives import ArchiveSource
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.tables import read_table
from dc_keras.errors import InputError

Listed = TypeVar("Listed")

FOLDERS, NONE = "folders", "none"
_SHOWN = 10
_PARTS_OF_SETS = {
    "train", "training", "trn", "val", "valid", "validation", "dev", "eval", "test", "testing",
    "tst", "unlabeled", "unlabelled", "extra",
}  # fmt: skip
_SHARES = re.compile(r"(part|shard|chunk|batch|split|dir|folder)[-_ .]?\d+", re.IGNORECASE)


def numbered_classes(labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class of each image, int32 (n,), and the sorted names of the classes."""
    class_names, numbers = np.unique(np.array(labels, object), return_inverse=True)
    return numbers.astype(np.int32), tuple(class_names.tolist())


def give_labels(source: ImageSource, labels: str) -> None:
    """Gives a source the labels of a file, or takes away those that it has.

    Args:
        source: Freshly opened.
        labels: "none", or a CSV file of path and label. Paths are names of images, that is below
            the data folder; or paths of files, from the folder of the CSV file on.

    Raises:
        InputError: If the file cannot be read, has no labels, or lacks one of the images.
    """
    if labels == NONE:
        source.labels = source.class_names = None
        return
    table = read_table(labels)
    if table.labels is None:
        raise InputError(
            f"The file of labels has none. Received: --labels={labels}. Expected: a CSV file with "
            "the columns path and label."
        )
    by_name = dict(zip(table.paths, table.labels, strict=True))
    found = [entry_of(name, source, by_name, labels) for name in source.names]
    missing = [name for name, label in zip(source.names, found, strict=True) if not label]
    if missing:
        raise InputError(
            f"Images have no label. Received: --labels={labels}, which lacks {len(missing):,} of "
            f"{len(source):,} images, the first is {missing[0]!r}. Expected: a line for each, with "
            "its path below the data folder. Add them, or take the images away."
        )
    source.labels, source.class_names = numbered_classes([label or "" for label in found])


def entry_of(
    name: str, source: ImageSource, by_path: Mapping[str, Listed], file: str
) -> Listed | None:
    """What a list says of an image, whose path may be written there in several ways.

    Args:
        name: The image's name.
        source: Where it is from.
        by_path: What the list says, by the paths in it: names of images, that is below the data
            folder; absolute paths; or such from the list's folder or the working directory on.
        file: The list.

    Returns:
        What it says, or None.
    """
    if name in by_path or not isinstance(source, FolderSource):
        return by_path.get(name, by_path.get(name.removeprefix(getattr(source, "common", ""))))
    path = os.path.abspath(os.path.join(source.root, name))
    # An absolute path, one from the file's folder on, or one from the working directory on.
    for start in (os.sep, os.path.dirname(os.path.abspath(file)), os.getcwd()):
        if (found := by_path.get(os.path.join(start, os.path.relpath(path, start)))) is not None:
            return found
        if (found := by_path.get(os.path.relpath(path, start))) is not None:
            return found
    return None


def describe_labels(source: ImageSource, labels: str = "") -> list[str]:
    """Lines about the classes of a source: how many of which, and what looks like a mistake.

    Args:
        source: As it was opened.
        labels: What the user asked for; see `open_source`.
    """
    if labels == NONE:
        return []
    if source.labels is None or source.class_names is None:
        return _strays(source)
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    shown = ", ".join(
        f"{_in_a_line(name)} ({count:,})"
        for name, count in zip(source.class_names[:_SHOWN], counts[:_SHOWN], strict=True)
    )
    more = len(source.class_names) - _SHOWN
    line = f"Classes, for figures alone: {len(counts):,}: {shown}"
    line += f" and {more:,} more" if more > 0 else ""
    by_folder = isinstance(source, FolderSource | ArchiveSource) and labels in ("", FOLDERS)
    return [line, *(_suspicious(source, source.class_names) if by_folder else [])]


def _strays(source: ImageSource) -> list[str]:
    """Images beside class folders: a single one takes the labels from all."""
    if not isinstance(source, FolderSource | ArchiveSource):
        return []
    names = [name.removeprefix(getattr(source, "common", "")) for name in source.names]
    outside = [name for name in names if "/" not in name]
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    if not folders or not outside:
        return []
    shown = ", ".join(map(_in_a_line, outside[:3])) + " and others" * (len(outside) > 3)
    return [
        f"No labels: {len(outside):,} of {len(source):,} images lie outside of the sub-folders "
        f"{', '.join(map(_in_a_line, folders[:3]))}{' and others' * (len(folders) > 3)}: {shown}. "
        "If the sub-folders are classes, move these away or give --labels=folders, which leaves "
        "them out; if not, --labels=none."
    ]


def _suspicious(source: ImageSource, class_names: tuple[str, ...]) -> list[str]:
    remedy_of_part = "make an archive of it alone"
    if isinstance(source, FolderSource):
        remedy_of_part = f"use --data_dir={os.path.join(source.root, class_names[0])}"
    if len(class_names) == 1:
        # Such folders are often nested: the innermost one that holds all is meant.
        common = os.path.commonpath([os.path.dirname(name) for name in source.names])
        deep = any(name.count("/") > 1 for name in source.names)
        if isinstance(source, FolderSource):
            remedy_of_part = f"use --data_dir={os.path.join(source.root, common)}"
        remedy = remedy_of_part if deep else "images of other classes are missing"
        return [
            f"There is a single class, the sub-folder {_in_a_line(class_names[0])}. If it is the "
            f"whole data set, {remedy}; if there are no classes, --labels=none."
        ]
    if all(name.lower() in _PARTS_OF_SETS for name in class_names):
        return [
            "These classes look like parts of a data set. To use one of them, "
            f"{remedy_of_part}; for all without classes: --labels=none."
        ]
    if all(_SHARES.fullmatch(name) for name in class_names):
        return [
            "These classes look like folders that images were shared out among. If they are: "
            "--labels=none, or --labels=FILE.csv with the columns path and label."
        ]
    return []


def _in_a_line(name: str) -> str:
    """A name as it is, or quoted where it would break the line."""
    return name if name.isprintable() else repr(name)
