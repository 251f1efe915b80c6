"""The ground truth of Revisited Oxford and Paris, from JSON.

It is published as a pickle, and reading one of these executes what its author wrote into it.
Nothing here does that.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.ground_truth import (
    GroundTruth,
    NamedAnswers,
    NamedQuery,
    box_of,
)

SETUPS = ("easy", "medium", "hard")
_GRADES = ("easy", "hard", "junk")
# For each setup what is relevant and what counts neither for nor against.
_ANSWERS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
_EXPECTED = (
    'Expected {"imlist": [names], "qimlist": [names], "gnd": [{"bbx": [x1, y1, x2, y2], "easy": '
    '[numbers], "hard": [numbers], "junk": [numbers]}]}, the numbers being places in imlist.'
)


def read_revisited(path: str) -> GroundTruth:
    """Reads what gnd_roxford5k.pkl or gnd_rparis6k.pkl holds, written as JSON.

    Args:
        path: The JSON file. Easy: easy images are relevant, hard ones and junk do not count.
            Medium: easy and hard ones are relevant. Hard: hard ones are, easy ones and junk do not
            count. Queries that have none are left out of a figure.

    Raises:
        InputError: If it is the pickle, no JSON, or holds something else.

    Reference:
        Radenovic et al. 2018, "Revisiting Oxford and Paris: Large-Scale Image Retrieval
        Benchmarking", section 3.4.
    """
    if path.endswith(".pkl"):
        raise InputError(
            f"Nothing is unpickled. Received: {path!r}, and a pickle executes what its author "
            "wrote into it. Expected the same as JSON. If you trust where the file comes from, "
            f"convert it yourself:\n  {_conversion(path)}"
        )
    content = _content(path)
    images, names, gnd = (content[key] for key in ("imlist", "qimlist", "gnd"))
    queries = []
    for number, (name, graded) in enumerate(zip(names, gnd, strict=True)):
        place = f"query {number} of {path}"
        answers = {}
        by_grade = {grade: _named(images, graded, grade, place) for grade in _GRADES}
        for setup, grades in _ANSWERS.items():
            relevant, junk = (
                tuple(one for grade in some for one in by_grade[grade]) for some in grades
            )
            if relevant:
                answers[setup] = NamedAnswers(relevant, junk)
        queries.append(NamedQuery(name, box_of(graded.get("bbx") or (), place), answers))
    return GroundTruth(queries, images, f"{len(queries):,} queries of {path}, revisited")


def _conversion(path: str) -> str:
    """The command that makes JSON of a pickle."""
    code = (
        "import json, pickle, sys; "
        "json.dump(pickle.load(open(sys.argv[1], 'rb')), open(sys.argv[2], 'w'), "
        "default=lambda array: array.tolist())"
    )
    return f'python -c "{code}" {path} {path.removesuffix(".pkl")}.json'


def _content(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The ground truth cannot be read. Received: {path!r} ({error}). {_EXPECTED}"
        ) from error
    problem = _problem(content)
    if problem:
        raise InputError(
            f"The ground truth is something else. Received: {path!r}, where {problem}. {_EXPECTED}"
        )
    return content


def _problem(content: Any) -> str:
    """What is wrong at the top of the file; empty if nothing is."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__} stands at the top"
    for key in ("imlist", "qimlist", "gnd"):
        kind = dict if key == "gnd" else str
        listed = content.get(key)
        if not isinstance(listed, list) or not all(isinstance(one, kind) for one in listed):
            return f"{key!r} is missing or holds something else"
    if not content["gnd"] or len(content["gnd"]) != len(content["qimlist"]):
        return f"there are {len(content['qimlist'])} queries and {len(content['gnd'])} answers"
    return ""


def _named(
    images: Sequence[str], graded: Mapping[str, Any], grade: str, place: str
) -> tuple[str, ...]:
    """The names of the images of a grade."""
    numbers = graded.get(grade)
    if not isinstance(numbers, list) or not all(
        type(number) is int and 0 <= number < len(images) for number in numbers
    ):
        raise InputError(
            f"The images of a query are not known. Received: {grade!r} of {place} is missing, or "
            f"has something else than places in imlist, from 0 to {len(images) - 1}. {_EXPECTED}"
        )
    return tuple(images[number] for number in numbers)
