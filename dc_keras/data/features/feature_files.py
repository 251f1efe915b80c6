"""Features as files: NumPy arrays, and Parquet tables with a list in each row.

An .npy file is mapped and read block by block, so it may be larger than the memory. What is in an
.npz or a Parquet file has to fit. Nothing is unpickled.
"""

import dataclasses
import importlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dc_keras.data.sources.tables import read_table
from dc_keras.errors import InputError
from dc_keras.memory import free_memory

NPY, NPZ, PARQUET = ".npy", ".npz", ".parquet"
KINDS = (NPY, NPZ, PARQUET)
PATHS, FEATURES, PATH, EMBEDDING = "paths", ("features", "embeddings"), "path", "embedding"
EXPECTED = (
    "Expected: an .npy file with numbers (n, d), a row for each image; an .npz file with such an "
    "array, `features` or `embeddings`, and perhaps `paths`, strings (n,); or a .parquet file with "
    "the columns path and embedding, lists of d numbers."
)
# What a damaged file makes NumPy raise; a MemoryError is of a header that declares too much.
_DAMAGED = (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)
_ROWS_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True)
class GivenFeatures:
    """Features as they are in a file.

    Attributes:
        values: Numbers `(m, d)`, of any size of float or integer; perhaps mapped from the file.
        paths: The image of each row, as it is written there, or None.
        listed_in: The file that has these paths; else the one with the features.
    """

    values: np.ndarray
    paths: tuple[str, ...] | None
    listed_in: str

    def __len__(self) -> int:
        return len(self.values)

    def blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields some rows in the order asked for, a block at a time.

        Args:
            rows: Which, integers `(r,)`.

        Yields:
            float32 `(at most 4096, d)`; infinity where a number is too large for that.
        """
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            with np.errstate(over="ignore"):
                block = self.values[rows[start : start + _ROWS_AT_A_TIME]]
                yield np.ascontiguousarray(block, np.float32)


def read_features(file: str, paths: str = "") -> GivenFeatures:
    """Opens a file of features and looks at all of its numbers.

    Args:
        file: Its name ends in .npy, .npz or .parquet.
        paths: A list of the images of its rows, where it has none itself: a .txt file with a path
            on each line, or a .csv file with a column path.

    Raises:
        InputError: If it cannot be read, holds something else, or numbers that are not finite; if
            there are other paths than rows.
    """
    kind = pathlib.PurePath(file).suffix.lower()
    if kind not in KINDS:
        raise InputError(f"The kind of the features is not known. Received: {file!r}. {EXPECTED}")
    read = {NPY: _from_npy, NPZ: _from_npz, PARQUET: _from_parquet}[kind]
    try:
        values, own = read(file)
    except _DAMAGED as error:
        raise InputError(
            f"The features cannot be read. Received: {file!r} ({_reason(error)}). {EXPECTED}"
        ) from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise InputError(
            f"These are no features of images. Received: {file!r} with {values.dtype} "
            f"{values.shape}. {EXPECTED} For tokens or maps take one of them or their mean first."
        )
    if own is not None and paths:
        raise InputError(
            f"The file has paths of its own. Received: {file!r} with --paths={paths}. Leave "
            "--paths out."
        )
    listed = read_table(paths).paths if paths else own
    if listed is not None and len(listed) != len(values):
        raise InputError(
            f"There are other paths than features. Received: {len(listed):,} paths in "
            f"{paths or file!r} for {len(values):,} rows of {file!r}. Expected one for each row, "
            "in their order."
        )
    features = GivenFeatures(values, listed, paths or file)
    _check_finite(features, file)
    return features


def _check_finite(features: GivenFeatures, file: str) -> None:
    """Looks at all rows, whatever images they belong to.

    Raises:
        InputError: With the first row that has something else than a number that float32 holds.
    """
    bad, first, start = 0, -1, 0
    for block in features.blocks(np.arange(len(features))):
        wrong = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(wrong) and not bad:
            first = start + int(wrong[0])
        bad, start = bad + len(wrong), start + len(block)
    if bad:
        of = f" ({features.paths[first]})" if features.paths else ""
        raise InputError(
            f"Features are not finite. Received: {file!r} with NaN, infinity or numbers too large "
            f"for float32 in {bad:,} of {len(features):,} rows; the first is row {first:,}{of}, "
            "counted from 0. Compute these anew, or leave them and their images out."
        )


def _from_npy(file: str) -> tuple[np.ndarray, None]:
    values = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray):
        values.close()
        raise ValueError("it is an .npz file by another name")
    return values, None


def _from_npz(file: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        names = arrays.files
        found = [name for name in FEATURES if name in names]
        if not found:
            raise ValueError(f"it has the arrays {', '.join(names) or 'none'}")
        size = sum(member.file_size for member in arrays.zip.infolist())
        _check_fits_memory(size, "write the features as an .npy file, and the paths with --paths")
        values = arrays[found[0]]
        paths = arrays[PATHS] if PATHS in names else None
    if paths is None:
        return values, None
    if paths.dtype.kind not in "US" or paths.ndim != 1:
        raise ValueError(f"its `paths` are {paths.dtype} {paths.shape} and not strings (n,)")
    return values, tuple(
        os.fsdecode(path) if isinstance(path, bytes) else path for path in paths.tolist()
    )


def _check_fits_memory(size: int, remedy: str) -> None:
    free = free_memory()
    if size > free.bytes:
        raise ValueError(
            f"it takes {size / 1e9:.2g} GB of the {free.bytes / 1e9:.2g} GB {free.told}: {remedy}"
        )


def _from_parquet(file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        pyarrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(
            f"Parquet files need the library pyarrow. Received: {file!r}. Install it with: "
            "pip install pyarrow, or give the features as an .npy or .npz file."
        ) from error
    try:
        with parquet.ParquetFile(file) as table:
            return _columns(table, pyarrow)
    except pyarrow.ArrowException as error:
        raise ValueError(_reason(error)) from error


def _columns(table: Any, pyarrow: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """The embeddings and paths of a Parquet file, some rows at a time.

    Raises:
        ValueError: If the columns are missing, or hold something else.
    """
    schema = table.schema_arrow
    if missing := [name for name in (PATH, EMBEDDING) if name not in schema.names]:
        raise ValueError(f"no column {' and '.join(missing)} among {', '.join(schema.names)}")
    types = pyarrow.types
    kind = schema.field(EMBEDDING).type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not is_list or not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        raise ValueError(f"its column {EMBEDDING} holds {kind} and not lists of numbers")
    values = np.empty((0, 0), np.float32)
    paths: list[Any] = []
    for batch in table.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=[PATH, EMBEDDING]):
        rows = _lists(batch.column(EMBEDDING), len(paths), values.shape[1] if paths else 0)
        if not paths:
            number = table.metadata.num_rows
            _check_fits_memory(4 * number * rows.shape[1], "write them as an .npy file")
            values = np.empty((number, rows.shape[1]), np.float32)
        values[len(paths) : len(paths) + len(rows)] = rows
        paths += batch.column(PATH).to_pylist()
    wrong = next((row for row, path in enumerate(paths) if not isinstance(path, str)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong:,} has {paths[wrong]!r} as its path")
    return values, tuple(paths)


def _lists(column: Any, first: int, dim: int) -> np.ndarray:
    """Lists of equal lengths as rows, float32.

    Args:
        column: An array of lists of pyarrow.
        first: The number of its first row in the file.
        dim: The length that they should have; 0 for that of the first.

    Raises:
        ValueError: If one is missing or has another length.
    """
    compute = importlib.import_module("pyarrow.compute")
    lengths = compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    dim = dim or int(lengths[0])
    if len(wrong := np.flatnonzero(lengths != dim)):
        row, length = int(wrong[0]), int(lengths[wrong[0]])
        told = "no embedding" if length < 0 else f"{length:,} numbers"
        raise ValueError(f"row {first + row:,} has {told}, others have {max(dim, 0):,}")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        return np.asarray(flat, np.float32).reshape(len(lengths), dim)


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def first_and_last(names: Sequence[str]) -> str:
    """The ends of a list of names, to compare with what one expects.

    >>> first_and_last(["a.png", "b.png", "c.png", "d.png"])
    "'a.png', 'b.png' to 'd.png'"
    """
    if len(names) < 3:
        return ", ".join(map(repr, names))
    return f"{names[0]!r}, {names[1]!r} to {names[-1]!r}"
