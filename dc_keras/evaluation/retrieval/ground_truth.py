"""Which images shall be found for which query, by name: what the readers here return."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from dc_keras.errors import InputError

# The figure of ground truths that have one alone.
MAP = "map"
# x1, y1, x2 and y2 of a region of interest, in pixels of its image.
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class NamedAnswers:
    """What a query shall find, by name.

    Attributes:
        relevant: Images that count for it.
        junk: Images that count neither for nor against.
    """

    relevant: tuple[str, ...]
    junk: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class NamedQuery:
    """A query.

    Attributes:
        image: Name of its image.
        box: The part of the image that is looked for; None for all of it.
        answers: By figure, such as "map" or "easy". One that has none is left out of that figure.
    """

    image: str
    box: Box | None
    answers: Mapping[str, NamedAnswers]


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """All queries.

    Attributes:
        queries: Each of them.
        searched: The images that are ranked; None for all that there are.
        told: What kind of ground truth it is, in words.
    """

    queries: Sequence[NamedQuery]
    searched: Sequence[str] | None
    told: str


def box_of(numbers: Sequence[str | float], place: str) -> Box:
    """Checks a region of interest.

    Args:
        numbers: x1, y1, x2, y2.
        place: Where they stand, for the error.

    Raises:
        InputError: If they are no box.

    >>> box_of(["1", "2", "30.5", "40"], "query.txt")
    (1.0, 2.0, 30.5, 40.0)
    """
    try:
        x1, y1, x2, y2 = (float(number) for number in numbers)
    except (TypeError, ValueError):
        x1 = y1 = x2 = y2 = math.nan
    if not (0 <= x1 < x2 < math.inf and 0 <= y1 < y2 < math.inf):
        shown = " ".join(str(number) for number in numbers)
        raise InputError(
            f"A query's region is no box. Received: {shown!r} in {place}. Expected x1 y1 x2 y2 in "
            "pixels, from 0 on, with x1 < x2 and y1 < y2."
        )
    return x1, y1, x2, y2
