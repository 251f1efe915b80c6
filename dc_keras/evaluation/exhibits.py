"""Plots and pictures of a report, as what a page of HTML holds without other files."""

import base64
import dataclasses
import io
import pathlib

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dc_keras.files import make_folder, write_atomically


def write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture, uint8 `(h, w, 3)`, as PNG; its folder is made where it is missing.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    make_folder(path.parent)
    with write_atomically(path, "wb") as file:
        file.write(_png(picture))


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A plot or a picture.

    Attributes:
        title: What it shows.
        note: How to read it.
        image: An SVG element, or PNG data.
        comes_first: Whether it stands before the tables.
    """

    title: str
    note: str
    image: str | bytes
    comes_first: bool = False

    @classmethod
    def of_figure(cls, title: str, note: str, figure: Figure) -> "Exhibit":
        """A plot, with letters as outlines, so that it looks alike everywhere."""
        file = io.StringIO()
        # Without a date, equal plots are equal files.
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
        text = file.getvalue()
        return cls(title, note, text[text.index("<svg") :])

    @classmethod
    def of_picture(cls, title: str, note: str, picture: np.ndarray) -> "Exhibit":
        """A picture, uint8 `(h, w, 3)`."""
        return cls(title, note, _png(picture))

    def to_html(self, label: str) -> str:
        """The image as an element of a page; the label is read out in its place."""
        if isinstance(self.image, str):
            return self.image.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        data = base64.b64encode(self.image).decode()
        return f'<img alt="{label}" src="data:image/png;base64,{data}">'
