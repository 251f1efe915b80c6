"""Finds the files that cannot be decoded, before training starts.

One unreadable file would stop an epoch in its middle. Every file is therefore decoded once, by the
decoder that training uses, and those that fail are listed and left out.
"""

import csv
import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tqdm

from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels import decoding
from dc_keras.data.pixels.limits import REASONS
from dc_keras.data.sources import converted
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.process import without_native_messages

NAMES_SHOWN = 10
PROGRESS_STEP = 64


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was seen of the images of a source.

    Attributes:
        unreadable: The reason in plain words for each index that cannot be read, ascending.
        sizes: Height and width of each image in pixels, int32 (n, 2); zeros where it is not known.
        is_deep: Whether it has 16 bits, (n,).
    """

    unreadable: Mapping[int, str]
    sizes: np.ndarray
    is_deep: np.ndarray

    def of_readable(self) -> "Inspection":
        """What was seen of the images that are left without the unreadable ones."""
        keep = np.setdiff1d(np.arange(len(self.sizes)), list(self.unreadable))
        return Inspection({}, self.sizes[keep], self.is_deep[keep])


def find_unreadable(source: ImageSource, *, progress: bool = True) -> dict[int, str]:
    """The reason for each image that `inspect` finds unreadable."""
    return dict(inspect(source, progress=progress).unreadable)


def inspect(source: ImageSource, *, progress: bool = True, rows: range | None = None) -> Inspection:
    """Decodes every image once, by the check that serving makes, too: `decoding.check`.

    Args:
        source: The images. Arrays need no check.
        progress: Whether to show a progress bar.
        rows: Which of them, where others look at the rest; None: all.

    Returns:
        What was seen of them; of the rest nothing.
    """
    rows = range(len(source)) if rows is None else rows
    sizes, is_deep = np.zeros((len(source), 2), np.int32), np.zeros(len(source), bool)
    if isinstance(source, ArraySource):
        sizes[rows.start : rows.stop] = source.sides
        return Inspection({}, sizes, is_deep)

    def check(index):
        return index, *decoding.check(source.load(index), source.options)

    readable = np.ones(len(source), bool)
    readable[rows.start : rows.stop] = False
    checked = unchanged(
        tf.data.Dataset.range(rows.start, rows.stop)
        .apply(in_threads(check, in_order=False))
        .ignore_errors(log_warning=False)
        .batch(PROGRESS_STEP)
        .prefetch(2)
    )
    # libjpeg says of each damaged file what is wrong, but not which file it is.
    with without_native_messages() as shown:
        with tqdm.tqdm(
            total=len(rows),
            desc="Checking images",
            unit="image",
            disable=not progress,
            file=shown,
        ) as bar:
            for indices, *seen in checked.as_numpy_iterator():
                readable[indices] = True
                sizes[indices], is_deep[indices] = seen
                bar.update(len(indices))
            bar.update(bar.total - bar.n)
        reasons = {int(i): _reason(source, int(i)) for i in np.flatnonzero(~readable)}
    # A file can fail once and be read well the second time, on a busy network drive.
    unreadable = {index: reason for index, reason in reasons.items() if reason}
    return Inspection(unreadable, sizes, is_deep)


def drop_unreadable(
    source: ImageSource, unreadable: Mapping[int, str], max_bad_fraction: float = 0.01
) -> ImageSource:
    """Leaves the unreadable images out, unless there are too many of them.

    A folder that cannot be listed counts as one.

    Args:
        source: The images.
        unreadable: The reason for each index that cannot be read.
        max_bad_fraction: Largest fraction of unreadable images that is put up with.

    Returns:
        The source of the readable images, numbered anew; `source` itself if all are.

    Raises:
        InputError: If the fraction is larger, or no image is left.
    """
    folders = source.findings.unreadable_folders
    bad = [(source.names[index], unreadable[index]) for index in sorted(unreadable)]
    bad += folders.items()
    if not bad:
        return source
    count, total = len(bad), len(source) + len(folders)
    if count > max_bad_fraction * total or len(unreadable) == len(source):
        shown = "".join(f"\n  {name}: {why}" for name, why in bad[:NAMES_SHOWN])
        more = f"\n  and {count - NAMES_SHOWN:,} more" if count > NAMES_SHOWN else ""
        raise InputError(
            f"Too many images cannot be read. Received: {count:,} of {total:,} "
            f"({count / total:.1%}). Expected: at most {max_bad_fraction:.1%} "
            f"(max_bad_fraction={max_bad_fraction:g}), and one that can be read. "
            f"Mend or remove these files, or allow more:{shown}{more}"
        )
    if not unreadable:
        return source
    return source.select(np.setdiff1d(np.arange(len(source)), list(unreadable)))


def leave_out_unreadable(
    source: ImageSource, max_bad_fraction: float, *, progress: bool
) -> tuple[ImageSource, Inspection]:
    """Decodes every image once and leaves out what cannot be decoded.

    Args:
        source: The images.
        max_bad_fraction: The largest fraction of them that may be left out.
        progress: Whether to show a progress bar.

    Returns:
        The source without them, and what was seen of all.

    Raises:
        InputError: If there are more, or all are unreadable.
    """
    seen = inspect(source, progress=progress)
    return drop_unreadable(source, seen.unreadable, max_bad_fraction), seen


def write_unreadable(unreadable: Mapping[str, str], path: str | os.PathLike) -> None:
    """Writes or extends the list of unreadable files: a CSV file with the columns path and reason.

    Args:
        unreadable: The reason by name.
        path: Where to write; files that are listed there stay listed. Names that are no UTF-8 keep
            their bytes.
    """
    rows = {"path": "reason"} | read_unreadable(path) | dict(unreadable)
    with write_atomically(path) as file:
        csv.writer(file).writerows(rows.items())


def read_unreadable(path: str | os.PathLike) -> dict[str, str]:
    """The reason by name that `write_unreadable` has listed; none where there is no file."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return dict(row for row in csv.reader(file) if len(row) == 2)


def _reason(source, index):
    """Why an image cannot be read; an empty text if it can."""
    try:
        encoded = source.load(tf.constant(index))
    except tf.errors.NotFoundError:
        return "the file is gone, or is a link that leads nowhere"
    except tf.errors.PermissionDeniedError:
        return "the file may not be read"
    except tf.errors.OpError as error:
        return f"the file cannot be read: {error.message}"
    if not encoded.numpy():
        return "the file is empty"
    if why := converted.why_not_converted(encoded.numpy(), source.options.max_pixels):
        return why
    try:
        decoding.check(encoded, source.options)
    except tf.errors.OpError as error:
        for known in REASONS:
            if known in error.message:
                return known
        return "damaged, cut off, or of an unusual kind: mend it or convert it to PNG or JPEG"
    return ""
