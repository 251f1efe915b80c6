"""Images sorted into a folder for each cluster: as links, copies, or moved.

    OUT/sorted.csv              what was put where; written first, so that all can be undone
        000_beach/              the largest cluster, by the name that the user gave it
        001_cluster_17/         the next one, which has none
        noise/                  images that lie apart from all others

Nothing is overwritten. What was interrupted is undone as what was finished: each image is at its
old place, at its new one, or whole at both.
"""

import collections
import csv
import dataclasses
import filecmp
import os
import pathlib
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from dc_keras.errors import CannotWriteError, InputError
from dc_keras.exploring.found_images import FoundImages
from dc_keras.files import (
    check_output_folder,
    copy_file,
    explain_write_errors,
    make_folder,
    remove_leftovers,
    write_atomically,
)

JOURNAL = "sorted.csv"
NOISE = "noise"
LINK, COPY, MOVE = "link", "copy", "move"
_COLUMNS = ["action", "source", "target", "cluster", "link"]
# What some file system or shell does not take in the name of a folder.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
# Bytes in a name, as most file systems allow them, and in that of a cluster.
_LONGEST, _LONGEST_CLUSTER = 255, 80
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where one image goes.

    Attributes:
        source: Where it is, absolute.
        target: Where it shall be, below the output folder.
        cluster: Its cluster.
        link: What it leads to if it is a link; empty for files.
    """

    source: str
    target: str
    cluster: int
    link: str = ""


@dataclasses.dataclass(frozen=True)
class Undone:
    """What came of undoing.

    Attributes:
        count: Images that are as they were before.
        left: What was left as it is, with the reason.
    """

    count: int
    left: tuple[tuple[str, str], ...]


def plan(found: FoundImages) -> list[Placement]:
    """Finds a place for each image. Changes nothing.

    Args:
        found: What is known of the images.

    Raises:
        InputError: If the images are no files.
    """
    if not found.root:
        raise InputError(
            "The images of the run are no files that could be sorted. Received: a run on "
            f"{found.paths[0]!r} and the like. Expected one on a folder of images. A table tells "
            "the cluster of each: dc-keras table."
        )
    folders = folder_names(found.clusters, found.cluster_names)
    taken: set[tuple[str, str]] = set()
    places = []
    for path, cluster, outlier in zip(
        found.paths, found.clusters.tolist(), found.outliers.tolist(), strict=True
    ):
        folder = NOISE if outlier else folders[cluster]
        name = _free_name(folder, path.rpartition("/")[2], taken)
        source = os.path.join(found.root, path)
        link = os.readlink(source) if os.path.islink(source) else ""
        places.append(Placement(source, f"{folder}/{name}", cluster, link))
    return places


def folder_names(clusters: np.ndarray, names: Sequence[str]) -> dict[int, str]:
    """Names of folders, so that the largest comes first; clusters of one name share theirs.

    Args:
        clusters: int32 `(n,)` cluster of each image.
        names: Names of the clusters, of which some may be empty.

    Returns:
        A folder's name for each cluster that has images.

    >>> folder_names(np.array([2, 0, 2]), ["", "", "at the sea"])
    {2: '000_at the sea', 0: '001_cluster_0'}
    >>> folder_names(np.array([0, 0, 1, 1, 1, 2]), ["sea", "wood", "sea"])
    {0: '000_sea', 2: '000_sea', 1: '001_wood'}
    """
    sizes = np.bincount(clusters, minlength=len(names))
    members: dict[str, list[int]] = {}
    for cluster in np.flatnonzero(sizes).tolist():
        members.setdefault(_safe(names[cluster]) or f"cluster_{cluster}", []).append(cluster)
    # Python's sort is stable: of equal sizes the lower number comes first.
    order = sorted(members.items(), key=lambda item: -sizes[item[1]].sum())
    width = max(3, len(str(len(order) - 1)))
    return {
        cluster: f"{rank:0{width}d}_{name}"
        for rank, (name, group) in enumerate(order)
        for cluster in group
    }


def describe(places: Sequence[Placement]) -> list[str]:
    """A line for each folder: how many images go there."""
    counts = collections.Counter(place.target.partition("/")[0] for place in places)
    width = len(f"{max(counts.values(), default=0):,}")
    return [f"{counts[folder]:{width},}  {folder}" for folder in sorted(counts)]


def without_missing(places: Sequence[Placement]) -> tuple[list[Placement], list[str]]:
    """Splits off images that are not there any more: the others, and the paths of these."""
    there = [place for place in places if os.path.exists(place.source)]
    known = {place.source for place in there}
    return there, [place.source for place in places if place.source not in known]


def check_output(out: str) -> None:
    """Checks that nothing is in the output folder. Changes nothing.

    Args:
        out: The folder: absent or empty.

    Raises:
        InputError: If it holds something.
    """
    target = check_output_folder(out)
    if (target / JOURNAL).exists():
        raise InputError(
            f"Images were sorted into this folder before. Received: --out={out} with {JOURNAL}. "
            f"Undo that with: dc-keras sort --undo --out={out}, or choose another folder."
        )
    if target.exists() and any(target.iterdir()):
        raise InputError(
            f"The output folder is not empty. Received: --out={out}. Expected a name that is free, "
            "or an empty folder: nothing is overwritten."
        )


def check(places: Sequence[Placement], out: str, action: str, root: str) -> None:
    """Checks that images can be put there. Changes nothing.

    Args:
        places: Where images go.
        out: The output folder.
        action: `LINK`, `COPY` or `MOVE`.
        root: The folder of the images.

    Raises:
        InputError: If the output folder lies among the images, there are no images, there is no
            room, or they may not be moved.
    """
    target = pathlib.Path(out)
    if _is_within(target, root):
        raise InputError(
            f"The output lies among the images. Received: --out={out} in {root}. Expected a folder "
            "beside them, or what is sorted would be found as images of its own."
        )
    if not places:
        raise InputError(f"There are no images to sort. Received: {root}. Bring them back first.")
    if action == MOVE:
        _check_movable(places)
    _check_room(places, target, action)


def sort_images(
    places: Sequence[Placement], out: str, action: str, *, progress: bool = False
) -> None:
    """Puts images where they go.

    Args:
        places: What `plan` found, without missing ones, after `check`.
        out: The output folder.
        action: `LINK`, `COPY` or `MOVE`.
        progress: Whether to show a progress bar.

    Raises:
        CannotWriteError: With the way back, if something cannot be written; the images that were
            put there before stay.
    """
    folder = pathlib.Path(out)
    make_folder(folder)
    _write_journal(folder, [(action, place) for place in places])
    act = {LINK: _link, COPY: _copy, MOVE: _move}[action]
    for done, place in enumerate(
        tqdm(places, desc="Sorting", unit="image", disable=not progress, leave=False)
    ):
        target = os.path.join(out, place.target)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            act(place, target)
        except (OSError, CannotWriteError) as error:
            raise CannotWriteError(
                f"Sorting has stopped. Received: {place.source} ({error}). {done:,} of "
                f"{len(places):,} images are sorted, the others are where they were. Undo with: "
                f"dc-keras sort --undo --out={out}"
                + (", or sort with --copy if links are not possible there." * (action == LINK))
            ) from error


def undo(out: str, *, progress: bool = False) -> Undone:
    """Brings everything back to how it was before.

    Args:
        out: The output folder.
        progress: Whether to show a progress bar.

    Returns:
        What came of it. What has changed since is left as it is; the journal then stays, and lists
        that alone.

    Raises:
        InputError: If nothing was sorted into this folder.
        CannotWriteError: If something cannot be written; start it again when that is mended.
    """
    entries = _read_journal(out)
    left: list[tuple[str, str]] = []
    kept = []
    back = {LINK: _unlink, COPY: _remove_copy, MOVE: _move_back}
    for action, place in tqdm(
        entries[::-1], desc="Undoing", unit="image", disable=not progress, leave=False
    ):
        target = os.path.join(out, place.target)
        with explain_write_errors(target):
            if why := back[action](place, target):
                left.append((target, why))
                kept.append((action, place))
    _clear(pathlib.Path(out), kept[::-1], {place.target.partition("/")[0] for _, place in entries})
    return Undone(len(entries) - len(left), tuple(left[::-1]))


def _link(place: Placement, target: str) -> None:
    os.symlink(place.source, target)


def _copy(place: Placement, target: str) -> None:
    copy_file(place.source, target)


def _move(place: Placement, target: str) -> None:
    if place.link:
        # A link may be relative to its folder; what is put there leads to the same file.
        os.symlink(os.path.realpath(place.source), target)
        os.unlink(place.source)
    else:
        _rename(place.source, target)


def _rename(source: str, target: str) -> None:
    """Moves a file, also to another disk; replaces nothing."""
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists")
    if os.stat(source).st_dev == os.stat(os.path.dirname(target)).st_dev:
        os.rename(source, target)
        return
    copy_file(source, target)
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise


def _unlink(place: Placement, target: str) -> str:
    if not os.path.lexists(target):
        return ""
    if not os.path.islink(target) or os.readlink(target) != place.source:
        return "is not the link any more that was put there"
    os.unlink(target)
    return ""


def _remove_copy(place: Placement, target: str) -> str:
    if not os.path.lexists(target):
        return ""
    if not os.path.exists(place.source):
        return f"is the only copy: {place.source} is gone"
    if os.path.islink(target) or not filecmp.cmp(place.source, target, shallow=False):
        return f"differs from {place.source} by now"
    os.unlink(target)
    return ""


def _move_back(place: Placement, target: str) -> str:
    if not os.path.lexists(target):
        return "" if os.path.lexists(place.source) else "is gone, and so is the image before it"
    if os.path.lexists(place.source):
        # An interruption between copying and removing, on another disk.
        same = place.link or filecmp.cmp(place.source, target, shallow=False)
        if not same:
            return f"another file has taken its old place, {place.source}"
        os.unlink(target)
        return ""
    os.makedirs(os.path.dirname(place.source), exist_ok=True)
    if place.link:
        os.symlink(place.link, place.source)
        os.unlink(target)
    else:
        _rename(target, place.source)
    return ""


def _write_journal(out: pathlib.Path, entries: Sequence[tuple[str, Placement]]) -> None:
    with write_atomically(out / JOURNAL) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(
            [action, place.source, place.target, place.cluster, place.link]
            for action, place in entries
        )


def _read_journal(out: str) -> list[tuple[str, Placement]]:
    path = os.path.join(out, JOURNAL)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        if header != _COLUMNS or any(
            len(row) != len(_COLUMNS) or row[0] not in (LINK, COPY, MOVE) for row in rows
        ):
            raise ValueError("it has other columns or actions")
        entries = [(row[0], Placement(row[1], row[2], int(row[3]), row[4])) for row in rows]
        if any(
            place.target.startswith("/") or ".." in place.target.split("/") for _, place in entries
        ):
            raise ValueError("it names files outside of the folder")
        return entries
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"There is nothing that could be undone. Received: --out={out} ({error}). Expected a "
            f"folder that dc-keras sort has made, with its {JOURNAL}."
        ) from error


def _clear(out: pathlib.Path, kept: list[tuple[str, Placement]], folders: Iterable[str]) -> None:
    """Removes folders that are empty by now, and the journal if there is nothing left to undo."""
    with explain_write_errors(out):
        for name in folders:
            remove_leftovers(out / name)
            if (out / name).is_dir() and not any((out / name).iterdir()):
                (out / name).rmdir()
    if kept:
        _write_journal(out, kept)
        return
    with explain_write_errors(out):
        (out / JOURNAL).unlink()
        if not any(out.iterdir()):
            out.rmdir()


def _check_movable(places: Sequence[Placement]) -> None:
    for folder in sorted({os.path.dirname(place.source) for place in places}):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(
                f"Images may not be moved away from there. Received: --move with {folder}, which "
                "may not be written to. Mend its permissions, or sort with links or --copy."
            )


def _check_room(places: Sequence[Placement], target: pathlib.Path, action: str) -> None:
    parent = next(folder for folder in target.absolute().parents if folder.is_dir())
    device = parent.stat().st_dev
    if action == LINK:
        return
    status = [os.stat(place.source) for place in places]
    needed = sum(s.st_size for s in status if action == COPY or s.st_dev != device)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise InputError(
            f"There is no room for the images. Received: {needed / 1e9:.3g} GB to write, and "
            f"{free / 1e9:.3g} GB free in {parent}. Make room, choose another folder, or sort with "
            "links."
        )


def _is_within(path: str | os.PathLike, folder: str) -> bool:
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


def _safe(name: str) -> str:
    """A cluster's name as part of a folder's: no separators, of limited length."""
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    cut = text.encode()[:_LONGEST_CLUSTER].decode(errors="ignore")
    return cut.strip(" .")


def _free_name(folder: str, name: str, taken: set[tuple[str, str]]) -> str:
    """The name, or one with a number, that no other image of the folder has.

    Some file systems take upper and lower case, or two ways to write an accent, for the same.
    """
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 10:
        stem, dot, ending = name, "", ""
    number, free = 1, name
    while (key := (folder, unicodedata.normalize("NFC", free).casefold())) in taken:
        number += 1
        tail = f" ({number}){dot}{ending}"
        room = _LONGEST - len(os.fsencode(tail))
        free = os.fsdecode(os.fsencode(stem)[:room]) + tail
    taken.add(key)
    return free


def shown(paths: Sequence[str]) -> str:
    """The first paths of a list, a line each."""
    more = len(paths) - _SHOWN
    lines = [f"\n  {path}" for path in paths[:_SHOWN]]
    return "".join(lines) + (f"\n  and {more:,} more" if more > 0 else "")
