"""Queries and what they shall find, by the numbers of images."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.ground_truth import MAP, Box, GroundTruth, NamedAnswers

_NAMES_SHOWN = 3

# From a name to the number of its image, None where there is none.
Find = Callable[[str], int | None]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a query shall find.

    Attributes:
        relevant: Images that count for it, integers `(m,)`.
        junk: Images that count neither for nor against; those in both are junk.
        missing: Relevant images that are not there, which count as never found.
    """

    relevant: np.ndarray
    junk: np.ndarray
    missing: int = 0


@dataclasses.dataclass(frozen=True)
class Query:
    """A query, its images by number.

    Attributes:
        image: Its own.
        box: The part of it that is looked for; None for all of it.
        answers: By figure; see `ground_truth.NamedQuery`.
    """

    image: int
    box: Box | None
    answers: Mapping[str, Answers]


def resolve(
    truth: GroundTruth, names: Sequence[str]
) -> tuple[list[Query], np.ndarray, tuple[str, ...]]:
    """Finds the images of a ground truth.

    Args:
        truth: By name: that of an image, or its end, with or without ending.
        names: Of the images.

    Returns:
        Queries whose image is there; the images that are searched, integers `(n,)`; and remarks on
        what is not there.

    Raises:
        InputError: If no query's image is there, or no relevant image of any, or a name is that of
            several images.
    """
    find = index_by_name(names)
    searched = np.arange(len(names))
    gone: list[str] = []
    if truth.searched is not None:
        searched = _numbers(truth.searched, find)
        gone = [name for name in truth.searched if find(name) is None]
    is_searched = np.isin(np.arange(len(names)), searched)
    queries, absent = [], []
    for named in truth.queries:
        image = find(named.image)
        if image is None:
            absent.append(named.image)
            continue
        answers = {key: _answers(one, find, is_searched) for key, one in named.answers.items()}
        answers = {key: one for key, one in answers.items() if len(one.relevant) + one.missing}
        queries.append(Query(image, named.box, answers))
    _check_some_are_there(truth, names, queries)
    return queries, searched, tuple(_remarks(truth, queries, gone, absent))


def index_by_name(names: Sequence[str]) -> Find:
    """A function from names, as ground truths write them, to the numbers of images.

    >>> find = index_by_name(["paris/eiffel_1.jpg", "paris/louvre_2.jpg"])
    >>> find("eiffel_1"), find("paris/louvre_2.jpg"), find("louvre_3")
    (0, 1, None)
    """
    whole = {name: index for index, name in enumerate(names)}
    ends: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        for end in {os.path.basename(name), _stem(name), os.path.splitext(name)[0]}:
            ends.setdefault(end, []).append(index)

    def find(name: str) -> int | None:
        if name in whole:
            return whole[name]
        found = ends.get(name) or ends.get(_stem(name)) or []
        if len(found) > 1:
            raise InputError(
                f"A name in the ground truth is that of several images. Received: {name!r}, which "
                f"may be {names[found[0]]!r} or {names[found[1]]!r}. Expected the path below the "
                "data folder: rename one of them, or write the path."
            )
        return found[0] if found else None

    return find


def some_of(names: Sequence[str]) -> str:
    """The first names of a list.

    >>> some_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]


def _numbers(names: Sequence[str], find: Find) -> np.ndarray:
    """The images that are there, ascending, int64 `(m,)`."""
    places = {find(name) for name in names} - {None}
    return np.sort(np.array(list(places), np.int64))


def _answers(named: NamedAnswers, find: Find, is_searched: np.ndarray) -> Answers:
    relevant, junk = _numbers(named.relevant, find), _numbers(named.junk, find)
    missing = len(set(named.relevant)) - int(is_searched[relevant].sum())
    relevant, junk = relevant[is_searched[relevant]], junk[is_searched[junk]]
    return Answers(np.setdiff1d(relevant, junk), junk, missing)


def _check_some_are_there(
    truth: GroundTruth, names: Sequence[str], queries: Sequence[Query]
) -> None:
    what = ""
    if not queries:
        what = f"no query's image, such as {truth.queries[0].image!r}"
    elif not any(len(one.relevant) for query in queries for one in query.answers.values()):
        what = "no relevant image of any query"
    if what:
        raise InputError(
            f"The ground truth is one of other images. Received: {truth.told}, and {len(names):,} "
            f"images such as {names[0]!r}, among which is {what}. Expected the images that it was "
            "made for, under their names."
        )


def _remarks(
    truth: GroundTruth, queries: Sequence[Query], gone: Sequence[str], absent: Sequence[str]
) -> list[str]:
    """What is not there, a sentence each."""
    remarks = []
    if gone and truth.searched is not None:
        remarks.append(
            f"Retrieval: {len(gone):,} of {len(truth.searched):,} images to be searched are not "
            f"there: {some_of(gone)}."
        )
    if absent:
        remarks.append(
            f"Retrieval: {len(absent):,} of {len(truth.queries):,} queries are left out, since "
            f"their image is not there: {some_of(absent)}."
        )
    missing = sum(
        max((one.missing for one in query.answers.values()), default=0) for query in queries
    )
    if missing:
        remarks.append(
            f"Retrieval: {missing:,} relevant images, counted for each query by itself, are not "
            "there. They count as not found."
        )
    for figure in sorted({key for named in truth.queries for key in named.answers}):
        if without := sum(figure not in query.answers for query in queries):
            what = "nothing to be found" if figure == MAP else f"nothing {figure} to be found"
            remarks.append(
                f"Retrieval: {without:,} of {len(queries):,} queries have {what}, and are left out "
                "of that figure."
            )
    return remarks
