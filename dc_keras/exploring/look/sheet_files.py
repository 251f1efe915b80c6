"""The sheets of a run as files.

RUN/look/first_layer.png, filters_relu5_3.png, clusters.png ...
RUN/tensorboard/look        the same as images of TensorBoard
"""

import pathlib
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from dc_keras.errors import InputError
from dc_keras.exploring.look.run_sheets import LookOptions, look_sheets
from dc_keras.exploring.look.sheets import Sheet
from dc_keras.files import (
    check_output_folder,
    tensorflow_errors_as_os_errors,
    write_directory_atomically,
)
from dc_keras.runs.run_directory import RunDirectory

_OURS = re.compile(r"(first_layer|filters_.+|clusters)(_\d+)?\.png")


def look(
    run_dir: str, out: str = "", options: LookOptions | None = None, *, progress: bool = False
) -> list[pathlib.Path]:
    """Draws what the network of a run looks at, and writes it as PNG pictures.

    Args:
        run_dir: A finished run with a network.
        out: Folder for the sheets; default: look in the run, whose TensorBoard then shows them.
        options: What is shown; default: `LookOptions()`.
        progress: Whether to show progress bars.

    Returns:
        The files.

    Raises:
        InputError: As `look_sheets` does, or if another folder would be lost.
    """
    run = RunDirectory(run_dir)
    run.config()  # Whether there is a run at all.
    folder = check_look_folder(out or run.path / "look")
    sheets = look_sheets(run, options, progress=progress)
    written = write_sheets(folder, sheets)
    if not out:
        show_in_tensorboard(run.tensorboard / "look", sheets)
    return written


def write_sheets(folder: pathlib.Path, sheets: Sequence[Sheet]) -> list[pathlib.Path]:
    """Writes sheets as PNG pictures with title and note, in place of what the folder held.

    Returns:
        The files.
    """
    with write_directory_atomically(folder) as new:
        for sheet in sheets:
            Image.fromarray(sheet.titled()).save(new / f"{sheet.name}.png", optimize=True)
    return [folder / f"{sheet.name}.png" for sheet in sheets]


def check_look_folder(out: str | pathlib.Path) -> pathlib.Path:
    """Checks that sheets may be written somewhere: nothing is there, or sheets of ours.

    Raises:
        InputError: If not.
    """
    folder = check_output_folder(out)
    others = [path.name for path in folder.iterdir()] if folder.exists() else []
    others = sorted(name for name in others if not _OURS.fullmatch(name))
    if others:
        raise InputError(
            f"The output's folder has other files, which would be lost. Received: --out={out}, "
            f"which has {others[0]}. Expected sheets to replace, or a name that is free."
        )
    return folder


def show_in_tensorboard(folder: pathlib.Path, sheets: Sequence[Sheet]) -> None:
    """Writes sheets as images of TensorBoard, in place of earlier ones.

    Args:
        folder: A part of a run's TensorBoard of its own.
        sheets: With title and note in the picture, which is all that TensorBoard shows.
    """
    with (
        write_directory_atomically(folder) as new,
        tensorflow_errors_as_os_errors(),
    ):
        writer = tf.summary.create_file_writer(str(new))
        with writer.as_default(step=0):
            for sheet in sheets:
                tf.summary.image(f"look/{sheet.name}", sheet.titled()[np.newaxis])
        writer.close()
