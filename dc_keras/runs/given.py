"""RUN/given.json: where the features of a run that was not trained are from."""

import dataclasses
import json

from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.runs.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Given:
    """What was given in place of a training.

    Attributes:
        file: The features or the network.
        is_network: Which of both.
        told: What the features are, in words.
    """

    file: str
    is_network: bool
    told: str


def save_given(run: RunDirectory, given: Given) -> None:
    """Notes where the features are from, which makes it a run without training."""
    with write_atomically(run.given) as file:
        file.write(json.dumps(dataclasses.asdict(given)) + "\n")


def load_given(run: RunDirectory) -> Given | None:
    """Reads what `save_given` wrote; None for a run of a training.

    Raises:
        InputError: If it is damaged.
    """
    if not run.given.exists():
        return None
    try:
        given = Given(**json.loads(run.given.read_bytes()))
        if [type(value) for value in vars(given).values()] != [str, bool, str]:
            raise ValueError("values of other kinds")
        return given
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"It is not known where the features are from. Received: {run.given} ({error}). "
            "Expected the file that dc-keras cluster wrote. Bring it back from a backup, or "
            "cluster anew into another --run_dir."
        ) from error
