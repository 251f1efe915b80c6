"""A list of queries that users write: a CSV file with a pair of query and relevant image a row."""

import csv

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.ground_truth import (
    MAP,
    Box,
    GroundTruth,
    NamedAnswers,
    NamedQuery,
    box_of,
)

_COLUMNS = ("query", "relevant")
_BOX = ("x1", "y1", "x2", "y2")
_EXPECTED = (
    "Expected the columns query and relevant, named in the first line, with a pair of images on "
    "each line, and perhaps x1, y1, x2 and y2, the query's region of interest in pixels."
)


def read_pairs(path: str) -> GroundTruth:
    """Reads pairs of a query and an image that it shall find.

    Args:
        path: The CSV file. Names are as in the data folder, with or without folders and ending. The
            region of a query stands on any of its lines. The query's own image does not count.

    Raises:
        InputError: If it cannot be read, has other columns, no pairs, or two regions for a query.
    """
    relevant: dict[str, list[str]] = {}
    boxes: dict[str, Box] = {}
    for line, row in _rows(path):
        query, found = (row[column].strip() for column in _COLUMNS)
        if not query or not found:
            raise InputError(
                f"A pair is not complete. Received: line {line} of {path!r}, query {query!r} and "
                f"relevant {found!r}. {_EXPECTED}"
            )
        relevant.setdefault(query, []).append(found)
        numbers = [(row.get(column) or "").strip() for column in _BOX]
        if any(numbers):
            box = box_of(numbers, f"line {line} of {path}")
            if boxes.setdefault(query, box) != box:
                raise InputError(
                    f"A query has two regions. Received: {query!r} with {boxes[query]} and {box}, "
                    f"in line {line} of {path!r}. Expected one: crop the image for the other."
                )
    queries = [
        NamedQuery(query, boxes.get(query), {MAP: NamedAnswers(tuple(found), (query,))})
        for query, found in relevant.items()
    ]
    if not queries:
        raise InputError(f"There are no queries. Received: {path!r} without pairs. {_EXPECTED}")
    return GroundTruth(queries, None, f"{len(queries):,} queries of {path}")


def _rows(path: str) -> list[tuple[int, dict[str, str]]]:
    """The rows by column, with the number of the line that each ends in."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="", strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, csv.Error) as error:
        raise InputError(
            f"The list of queries cannot be read. Received: {path!r} ({error}). {_EXPECTED}"
        ) from error
    if not set(_COLUMNS) <= set(columns):
        raise InputError(
            f"The list of queries has other columns. Received: {path!r} with {columns}. {_EXPECTED}"
        )
    return rows
