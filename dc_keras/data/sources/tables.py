"""Lists of images that users write: CSV files of paths and labels, and texts of a path a line."""

import csv
import dataclasses
import io
import os

import tensorflow as tf

from dc_keras.errors import InputError

_PATH, _LABEL = "path", "label"


@dataclasses.dataclass(frozen=True)
class Table:
    """What a list says.

    Attributes:
        paths: In its order, as they are written.
        labels: The label of each, or None where there are none.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None


def is_table(path: str) -> bool:
    """Whether a file is named like a list."""
    return path.lower().endswith((".csv", ".txt"))


def read_table(path: str) -> Table:
    """Reads a list of images.

    A text has a path on each line. A CSV file has the columns path and perhaps label, named so in
    its first line, with any other columns beside; or one or two columns without names.

    Raises:
        InputError: If it cannot be read, is empty, or has other columns.
    """
    try:
        with tf.io.gfile.GFile(os.fsencode(path), "rb") as file:
            # Some editors put a mark in front. Bytes that are no UTF-8 are kept, as in paths.
            text = file.read().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    except tf.errors.OpError as error:
        raise InputError(
            f"The list of images cannot be read. Received: {path!r} ({error.message}). "
            "Check the path and the permissions."
        ) from error
    if path.lower().endswith(".txt"):
        table = Table(tuple(line for line in text.splitlines() if line.strip()), None)
    else:
        table = _from_csv(path, text)
    if not table.paths:
        raise InputError(f"The list of images is empty. Received: {path!r}. Expected: paths.")
    return table


def _from_csv(path: str, text: str) -> Table:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise InputError(
            f"The list of images is damaged. Received: {path!r} ({error}). Expected: a CSV file "
            "with the columns path and label."
        ) from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if _PATH in header:
        rows = rows[1:]
    else:
        header = [_PATH, _LABEL][: max(map(len, rows), default=1)]
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != len(header)), None)
    if wrong:
        raise InputError(
            f"The list of images has other columns than expected. Received: {path!r}, whose row "
            f"{wrong:,} of data is {rows[wrong - 1]}. Expected: the columns path and label, named "
            "in the first line, or a path and perhaps a label on each line."
        )
    paths = tuple(row[header.index(_PATH)] for row in rows)
    labels = None
    if _LABEL in header:
        labels = tuple(row[header.index(_LABEL)] for row in rows)
    return Table(paths, labels if labels and any(labels) else None)
