"""A table of the images of a run, one row each, as CSV or Parquet.

The columns of the Parquet file are those that Embedding Atlas reads:

    embedding-atlas FILE --x=x --y=y --neighbors=neighbors --image=image
"""

import csv
import importlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from dc_keras.errors import InputError
from dc_keras.exploring.exploration import Exploration
from dc_keras.exploring.found_images import DUPLICATE_KINDS, FoundImages
from dc_keras.files import spreadsheet_text, write_atomically

CSV, PARQUET = ".csv", ".parquet"
COLUMNS = (
    "index",
    "path",
    "cluster",
    "name",
    "distance",
    "margin",
    "outlier_score",
    "outlier",
    "duplicate_group",
    "duplicate_kind",
    "x",
    "y",
    "neighbors",
)
LABEL = "label"
_QUALITY = 80
_ROWS_AT_A_TIME = 4096


def check_table_name(path: str) -> None:
    """Checks that a table can be written, by its name and by what is installed.

    Raises:
        InputError: If the ending is none that is known, or the library for it is missing.
    """
    ending = pathlib.PurePath(path).suffix.lower()
    if ending not in (CSV, PARQUET):
        raise InputError(
            f"The kind of the table is not known. Received: --out={path}. Expected a name that "
            f"ends with {CSV} or {PARQUET}."
        )
    if ending == PARQUET:
        try:
            importlib.import_module("pyarrow")
        except ImportError as error:
            raise InputError(
                f"Parquet files need the library pyarrow. Received: --out={path}. Install it with: "
                f"pip install pyarrow, or choose a name that ends with {CSV}."
            ) from error


def write_table(exploration: Exploration, path: str | os.PathLike) -> None:
    """Writes the table.

    Args:
        exploration: What is known of the images.
        path: A name that `check_table_name` has let pass; a file there is replaced.
    """
    if pathlib.PurePath(path).suffix.lower() == CSV:
        _write_csv(exploration.found, path)
    else:
        _write_parquet(exploration, path)


def write_features(exploration: Exploration, path: str | os.PathLike) -> None:
    """Writes the descriptors, float32 `(n, dim)`, rows as in the table: a file for `numpy.load`."""
    with write_atomically(path, "wb") as file:
        np.save(file, np.asarray(exploration.descriptors))


def columns_of(found: FoundImages) -> dict[str, Any]:
    """The table's columns but for neighbours, by name: arrays and lists of one value an image."""
    columns = {
        "index": np.arange(len(found.paths), dtype=np.int32),
        "path": list(found.paths),
        "cluster": found.clusters,
        "name": [found.cluster_names[cluster] for cluster in found.clusters],
        "distance": found.distances,
        "margin": found.margins,
        "outlier_score": found.outlier_scores,
        "outlier": found.outliers,
        "duplicate_group": found.duplicate_groups,
        "duplicate_kind": [DUPLICATE_KINDS[kind] for kind in found.duplicate_kinds],
        "x": found.positions[:, 0],
        "y": found.positions[:, 1],
    }
    if found.labels is not None and found.class_names is not None:
        columns[LABEL] = [found.class_names[label] for label in found.labels]
    return columns


def _write_csv(found: FoundImages, path: str | os.PathLike) -> None:
    """For people: no cell is a formula, neighbours are row numbers with spaces between."""
    columns = columns_of(found)
    labels = columns.pop(LABEL, None)
    with write_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *([LABEL] if labels else [])])
        for row, values in enumerate(zip(*columns.values(), strict=True)):
            near = found.nearest[row]
            cells = [_cell(value) for value in values]
            cells.append(" ".join(map(str, near[near >= 0].tolist())))
            if labels:
                cells.append(spreadsheet_text(labels[row]))
            writer.writerow(cells)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, np.bool_):
        return str(bool(value)).lower()
    return f"{value:.5f}" if isinstance(value, np.floating) else str(value)


def _write_parquet(exploration: Exploration, path: str | os.PathLike) -> None:
    pyarrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    thresholds = {
        f"near_{name}": str(value).encode() for name, value in vars(exploration.near).items()
    }
    with write_atomically(path, "wb") as file:
        writer = None
        for table in _parts(exploration, pyarrow):
            if writer is None:
                schema = table.schema.with_metadata(thresholds)
                writer = parquet.ParquetWriter(file, schema)
            writer.write_table(table.replace_schema_metadata(thresholds))
        if writer is not None:
            writer.close()


def _parts(exploration: Exploration, pyarrow: Any) -> Iterator[Any]:
    """The table in parts, so that the pictures of a hundred thousand images need no memory."""
    found = exploration.found
    columns = columns_of(found)
    # Names may hold bytes that are no UTF-8, which Parquet does not know.
    columns |= {
        name: [_utf8(value) for value in columns[name]]
        for name in ("path", "name", LABEL)
        if name in columns
    }
    for start in range(0, len(found.paths), _ROWS_AT_A_TIME):
        block = slice(start, start + _ROWS_AT_A_TIME)
        part = {name: pyarrow.array(values[block]) for name, values in columns.items()}
        near = [
            {"ids": ids[ids >= 0].tolist(), "distances": away[ids >= 0].tolist()}
            for ids, away in zip(found.nearest[block], found.nearest_distances[block], strict=True)
        ]
        numbers = [
            ("ids", pyarrow.list_(pyarrow.int32())),
            ("distances", pyarrow.list_(pyarrow.float32())),
        ]
        part["neighbors"] = pyarrow.array(near, pyarrow.struct(numbers))
        pictures = [
            {"bytes": _jpeg(thumbnail), "path": path}
            for thumbnail, path in zip(
                exploration.thumbnails[block], columns["path"][block], strict=True
            )
        ]
        fields = [("bytes", pyarrow.binary()), ("path", pyarrow.string())]
        part["image"] = pyarrow.array(pictures, pyarrow.struct(fields))
        yield pyarrow.table(part)


def _utf8(text: str) -> str:
    """What is no UTF-8 as escapes that begin with a backslash."""
    return text.encode("utf-8", "backslashreplace").decode()


def _jpeg(pixels: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()
