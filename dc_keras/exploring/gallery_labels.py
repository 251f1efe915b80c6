"""Labels that a user gave in a gallery: names, merged, split off and rejected clusters.

A file of labels has groups. A group has clusters as a whole, single images that were moved into it
from other clusters, and a name; it may be rejected. What no group names stays as it was. The file
is anybody's: nothing in it is believed.
"""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dc_keras.errors import InputError
from dc_keras.exploring.cluster_names import LONGEST_NAME, is_name
from dc_keras.files import spreadsheet_text, write_atomically

_FORMAT, _VERSION = "dc_keras labels", 1
# Of clusters that are rejected, in RUN/names.json.
REJECTED = "rejected"
_LARGEST_FILE = 256 * 2**20
_COLUMNS = ["index", "path", "cluster", "group", "rejected"]
_KEYS = {"name", "clusters", "images", "rejected"}


@dataclasses.dataclass(frozen=True)
class LabelGroup:
    """Clusters and images that the user put together.

    Attributes:
        name: What the user calls it; may be empty.
        clusters: Numbers of clusters, less what other groups have of their images.
        images: Images from other clusters, by their place in the manifest.
        rejected: Whether it is to be left out.
    """

    name: str
    clusters: tuple[int, ...]
    images: tuple[int, ...]
    rejected: bool


@dataclasses.dataclass(frozen=True)
class LabelledClusters:
    """What the groups make of the clusters of a run.

    Attributes:
        groups: Names of the groups, each once; clusters that nobody touched are "cluster 3".
        of_images: int32 (n,) an index into `groups` for each image.
        rejected: bool (n,) whether an image is in a group that was rejected.
        cluster_names: k names; "" where none was given.
    """

    groups: tuple[str, ...]
    of_images: np.ndarray
    rejected: np.ndarray
    cluster_names: tuple[str, ...]


def read_labels(
    path: str | os.PathLike, *, gallery: str, num_images: int, num_clusters: int
) -> tuple[LabelGroup, ...]:
    """Reads a file of labels that a gallery gave.

    Args:
        path: The file.
        gallery: The id of the gallery that it must belong to.
        num_images: Images of the run.
        num_clusters: Clusters of the run.

    Raises:
        InputError: If it is not there, is damaged, or belongs to other clusters.
    """
    expected = "Expected the file that a gallery's page Labels downloads: download it again."

    def wrong(problem: str) -> InputError:
        return InputError(f"These labels cannot be used. Received: {path} ({problem}). {expected}")

    try:
        if not pathlib.Path(path).is_file():
            raise wrong("there is no such file")
        if os.path.getsize(path) > _LARGEST_FILE:
            raise wrong("it is too large")
        value = json.loads(pathlib.Path(path).read_bytes())
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise wrong(f"no JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise wrong("it has no labels")
    if value.get("version") != _VERSION:
        raise wrong("it is of another version")
    if value.get("gallery") != gallery:
        raise InputError(
            f"These labels belong to other clusters. Received: {path}, from a gallery of another "
            "run, or of this one before it was trained on. Expected labels of a gallery of the "
            "run as it is: make one with dc-keras gallery, and label its clusters."
        )
    if not isinstance(value.get("groups"), list):
        raise wrong("it has no groups")
    seen: tuple[set[int], set[int]] = (set(), set())
    groups = []
    for number, group in enumerate(value["groups"]):
        if problem := _problem(group, seen, num_images, num_clusters):
            raise wrong(f"group {number}: {problem}")
        groups.append(
            LabelGroup(
                group["name"].strip(),
                tuple(group["clusters"]),
                tuple(group["images"]),
                group["rejected"],
            )
        )
    return tuple(groups)


def _problem(
    group: Any, seen: tuple[set[int], set[int]], num_images: int, num_clusters: int
) -> str:
    """What is wrong with one group; empty when all is well. Adds to what was seen."""
    if not isinstance(group, dict) or group.keys() != _KEYS:
        return "it should have name, clusters, images and rejected"
    if not is_name(group["name"]):
        return f"its name is no line of at most {LONGEST_NAME} characters"
    if not isinstance(group["rejected"], bool):
        return "rejected is neither true nor false"
    limits = {"clusters": num_clusters, "images": num_images}
    for (key, limit), before in zip(limits.items(), seen, strict=True):
        if not isinstance(group[key], list):
            return f"{key} is no list"
        for item in group[key]:
            # True is an int for Python.
            if type(item) is not int or not 0 <= item < limit:
                return f"{key} has {str(item)[:50]}, where there are 0 to {limit - 1}"
            if item in before:
                return f"{key} has {item}, which stands there twice or in another group"
            before.add(item)
    return ""


def apply_labels(
    groups: Sequence[LabelGroup], clusters: np.ndarray, num_clusters: int
) -> LabelledClusters:
    """Puts images into the groups that the user made.

    Args:
        groups: Of `read_labels`.
        clusters: int (n,) cluster of each image.
        num_clusters: How many there are.

    >>> pets = LabelGroup("pets", (0, 2), (), False)
    >>> found = apply_labels([pets], np.array([0, 1, 2, 1]), 3)
    >>> found.cluster_names, [found.groups[group] for group in found.of_images]
    (('pets', '', 'pets'), ['pets', 'cluster 1', 'pets', 'cluster 1'])
    """
    titles = [_title(group, number) for number, group in enumerate(groups)]
    names = [""] * num_clusters
    by_cluster = [f"cluster {cluster}" for cluster in range(num_clusters)]
    rejected = np.zeros(num_clusters, bool)
    for title, group in zip(titles, groups, strict=True):
        for cluster in group.clusters:
            by_cluster[cluster] = title
            rejected[cluster] = group.rejected
            if group.rejected:
                names[cluster] = REJECTED
            elif group.name or len(group.clusters) > 1:
                names[cluster] = title
    texts = tuple(dict.fromkeys([*by_cluster, *titles]))
    number = {text: index for index, text in enumerate(texts)}
    of_images = np.array([number[text] for text in by_cluster], np.int32)[clusters]
    out = rejected[clusters]
    for title, group in zip(titles, groups, strict=True):
        of_images[list(group.images)] = number[title]
        out[list(group.images)] = group.rejected
    return LabelledClusters(texts, of_images, out, tuple(names))


def _title(group: LabelGroup, number: int) -> str:
    if group.name:
        return group.name
    # Merged clusters without a name are called by the first.
    return f"cluster {group.clusters[0]}" if group.clusters else f"split off {number}"


def write_groups(
    path: str | os.PathLike, names: Sequence[str], clusters: np.ndarray, labelled: LabelledClusters
) -> None:
    """Writes a CSV file: index, path, cluster, group and whether it was rejected (1 or 0).

    Args:
        path: The file.
        names: n names of the images.
        clusters: int (n,) cluster of each.
        labelled: Their groups.
    """
    with write_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        rows = zip(
            map(spreadsheet_text, names),
            clusters.tolist(),
            (spreadsheet_text(labelled.groups[group]) for group in labelled.of_images),
            labelled.rejected.astype(int).tolist(),
            strict=True,
        )
        writer.writerows((index, *row) for index, row in enumerate(rows))


def check_groups_file(path: str | os.PathLike) -> None:
    """Checks that a file of groups may be written or removed: none is there, or one of ours.

    Raises:
        InputError: If it is another file.
    """
    if not pathlib.Path(path).exists():
        return
    with open(path, "rb") as file:
        first = file.readline(100)
    if first.strip() != ",".join(_COLUMNS).encode():
        raise InputError(
            f"Another file stands where the groups go, and would be lost. Received: {path}. "
            "Expected a file that dc-keras apply wrote, or none: move it, or choose another --out."
        )
