"""The ground truth of Oxford5k and Paris6k, as published: four texts for each query."""

import os
import pathlib

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.ground_truth import (
    MAP,
    GroundTruth,
    NamedAnswers,
    NamedQuery,
    box_of,
)

_QUERY, _GOOD, _OK, _JUNK = "_query.txt", "_good.txt", "_ok.txt", "_junk.txt"
# Before the names of images in the queries of Oxford5k, and nowhere else.
_PREFIX = "oxc1_"


def read_oxford(folder: str) -> GroundTruth:
    """Reads a folder of NAME_query.txt, NAME_good.txt, NAME_ok.txt and NAME_junk.txt.

    A query is an image and a box: `oxc1_all_souls_000013 136.5 34.1 648.5 955.7`. The others list
    an image on each line. Good and ok ones are relevant. The query's own image is mostly among
    them, and then counts, as published.

    Raises:
        InputError: If there are no queries, a list is missing, or a query is no image and box.
    """
    root = pathlib.Path(folder)
    stems = sorted(path.name.removesuffix(_QUERY) for path in root.glob(f"*{_QUERY}"))
    if not stems:
        raise InputError(
            f"There are no queries in the folder of the ground truth. Received: {folder!r} with "
            f"{len(os.listdir(folder)):,} files. Expected the unpacked gt_files of Oxford5k or "
            "Paris6k: NAME_query.txt, NAME_good.txt, NAME_ok.txt and NAME_junk.txt for each query."
        )
    _check_complete(root, stems)
    queries = []
    for stem in stems:
        path = root / f"{stem}{_QUERY}"
        # A text without a box fails as such.
        name, *numbers = _text(path).rsplit(None, 4) or ("",)
        relevant = *_lines(root / f"{stem}{_GOOD}"), *_lines(root / f"{stem}{_OK}")
        answers = NamedAnswers(relevant, _lines(root / f"{stem}{_JUNK}"))
        box = box_of(numbers, str(path))
        queries.append(NamedQuery(name.strip().removeprefix(_PREFIX), box, {MAP: answers}))
    return GroundTruth(queries, None, f"{len(queries):,} queries of {folder}")


def _check_complete(root: pathlib.Path, stems: list[str]) -> None:
    endings = (_QUERY, _GOOD, _OK, _JUNK)
    expected = {f"{stem}{ending}" for stem in stems for ending in endings}
    present = {path.name for ending in endings for path in root.glob(f"*{ending}")}
    if wrong := sorted(expected ^ present):
        what = "is not there" if wrong[0] in expected else "belongs to no query"
        raise InputError(
            f"The ground truth is not complete. Received: {root}, where {wrong[0]} {what}"
            f"{f', and {len(wrong) - 1:,} more' if wrong[1:] else ''}. Expected NAME_query.txt, "
            "NAME_good.txt, NAME_ok.txt and NAME_junk.txt for each query: unpack it again."
        )


def _lines(path: pathlib.Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in _text(path).splitlines() if line.strip())


def _text(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
