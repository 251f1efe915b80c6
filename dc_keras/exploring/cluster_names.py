"""Names that the user gave to the clusters of a run: RUN/names.json.

`dc-keras apply` writes it from the labels of a gallery. It tells of which clustering it speaks, so
that names of clusters that a longer training has replaced are not taken for those of the new ones.
"""

import json
import pathlib
import unicodedata
from collections.abc import Sequence

from absl import logging

from dc_keras.errors import InputError
from dc_keras.exploring.gallery import gallery_id
from dc_keras.exploring.run_images import final_clusters
from dc_keras.files import explain_write_errors, write_atomically
from dc_keras.runs.run_directory import RunDirectory

_NAMES, _FORMAT = "names.json", "dc_keras names"
LONGEST_NAME = 200
# Controls, marks of direction, halves of characters, ends of lines.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Emoji are made of several characters with these between them.
_JOINERS = "\u200c\u200d"


def load_names(run: RunDirectory) -> tuple[str, ...]:
    """Reads the names of a run's clusters.

    Args:
        run: A finished run.

    Returns:
        k names, "" for clusters without; nothing at all where no labels were applied, or those of
        clusters that are gone, of which a warning tells.

    Raises:
        InputError: If the file is damaged.
    """
    path = names_file(run)
    if not path.exists():
        return ()
    try:
        saved = json.loads(path.read_bytes())
        gallery, names = saved["gallery"], saved["names"]
        right = saved["format"] == _FORMAT and all(is_name(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        raise InputError(
            f"The names of the clusters are damaged. Received: {path}. Expected what dc-keras "
            "apply wrote. Apply the labels again, or remove the file to do without names."
        )
    if gallery != identity(run):
        logging.warning("%s names clusters that are gone, and is left out.", path)
        return ()
    return tuple(names)


def save_names(run: RunDirectory, names: Sequence[str]) -> None:
    """Writes the names of a run's clusters.

    Args:
        run: A finished run.
        names: k names, "" for clusters without.
    """
    saved = {
        "format": _FORMAT,
        "version": 1,
        "gallery": identity(run),
        "names": list(names),
    }
    with write_atomically(names_file(run)) as file:
        file.write(json.dumps(saved, indent=1) + "\n")


def remove_names(run: RunDirectory) -> bool:
    """Takes the names back. Tells whether there were some."""
    path = names_file(run)
    with explain_write_errors(path):
        there = path.exists()
        path.unlink(missing_ok=True)
    return there


def names_file(run: RunDirectory) -> pathlib.Path:
    """Where the names are."""
    return run.path / _NAMES


def is_name(value: object) -> bool:
    r"""Whether something can be a name: a text of one line, of at most 200 characters.

    >>> is_name("cats & dogs"), is_name("two\nlines"), is_name(3), is_name("\ud800")
    (True, False, False, False)
    """
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return False
    return all(
        letter in _JOINERS or unicodedata.category(letter) not in _UNSEEN for letter in value
    )


def identity(run: RunDirectory) -> str:
    """The id of a gallery of the run as it is now: see `gallery_id`."""
    return gallery_id(*final_clusters(run))
