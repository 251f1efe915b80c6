"""A list of the copies among the images of a run, group by group, with what makes them copies."""

import csv
import dataclasses
import json
import os
import pathlib

import numpy as np

from dc_keras.exploring.exploration import Exploration
from dc_keras.exploring.found_images import DUPLICATE_KINDS
from dc_keras.files import spreadsheet_text, write_atomically

COLUMNS = ("group", "kind", "path", "copy_of", "distance", "height", "width")


def write_duplicates(exploration: Exploration, path: str | os.PathLike) -> pathlib.Path:
    """Writes the list, and the thresholds beside it.

    Args:
        exploration: What is known of the images.
        path: The CSV file to write, a row for each image that has a copy; a file there is replaced.
            `copy_of` is the image that it was found to be a copy of, `distance` that of their
            descriptors; both are empty for the first of a group.

    Returns:
        The file of thresholds and counts: the name with ".json" behind it.
    """
    found, duplicates = exploration.found, exploration.duplicates
    original, kind_of = _originals(exploration)
    members = np.flatnonzero(duplicates.groups >= 0)
    members = members[np.argsort(duplicates.groups[members], kind="stable")]
    with write_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for image in members.tolist():
            copied, away = "", ""
            if image in original:
                other = original[image]
                copied = spreadsheet_text(found.paths[other])
                difference = exploration.descriptors[image] - exploration.descriptors[other]
                away = f"{float(np.linalg.norm(difference)):.4f}"
            kind = kind_of.get(image, int(duplicates.kinds[image]))
            writer.writerow(
                [
                    duplicates.groups[image],
                    DUPLICATE_KINDS[kind],
                    spreadsheet_text(found.paths[image]),
                    copied,
                    away,
                    *exploration.sizes[image],
                ]
            )
    beside = pathlib.Path(f"{path}.json")
    with write_atomically(beside) as file:
        settings = {"near": dataclasses.asdict(exploration.near), "images": counts(exploration)}
        file.write(json.dumps(settings, indent=2) + "\n")
    return beside


def counts(exploration: Exploration) -> dict[str, int]:
    """How many images have a copy, by its strictest sense, and how many groups there are."""
    kinds = np.bincount(exploration.duplicates.kinds, minlength=len(DUPLICATE_KINDS)).tolist()
    told = dict(zip(DUPLICATE_KINDS[1:], kinds[1:], strict=True))
    return told | {"groups": int(exploration.duplicates.groups.max(initial=-1)) + 1}


def _originals(exploration: Exploration) -> tuple[dict[int, int], dict[int, int]]:
    """Which earlier image each was found to be a copy of, in the strictest sense, and the sense."""
    original: dict[int, int] = {}
    kind_of: dict[int, int] = {}
    pairs, kinds = exploration.duplicates.pairs, exploration.duplicates.pair_kinds
    for (first, second), kind in zip(pairs.tolist(), kinds.tolist(), strict=True):
        if second not in original:
            original[second], kind_of[second] = first, kind
    return original, kind_of
