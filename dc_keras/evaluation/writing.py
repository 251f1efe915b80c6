"""The files of a report."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dc_keras.evaluation.exhibits import Exhibit
from dc_keras.evaluation.page import to_html
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.text import to_markdown
from dc_keras.files import make_folder, write_atomically


def write_report(
    report: EvaluationReport,
    directory: str | os.PathLike,
    stem: str = "report",
    exhibits: Sequence[Exhibit] = (),
) -> pathlib.Path:
    """Writes a report as JSON, Markdown and HTML, and what it is of image by image.

    Args:
        report: What was measured.
        exhibits: Plots and pictures for the page.
        directory: Where to; made if it does not exist.
        stem: Name of the files without their ending.

    Returns:
        The path of the Markdown file.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    directory = pathlib.Path(directory)
    make_folder(directory)
    texts = {
        ".json": report.to_json(),
        ".md": to_markdown(report),
        ".html": to_html(report, exhibits),
    }
    for ending, text in texts.items():
        with write_atomically(directory / (stem + ending)) as file:
            file.write(text)
    with write_atomically(directory / "outcomes.npz", "wb") as file:
        arrays: dict[str, Any] = dict(report.to_arrays())
        np.savez_compressed(file, **arrays)
    return directory / f"{stem}.md"
