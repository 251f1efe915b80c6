"""Sheets: pictures with captions in rows, under a title that says how to read them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN, _GAP = 24, 18
_TITLE, _TEXT = 26, 15
_LINE = 1.35
_INK, _PALE = (20, 20, 20), (90, 90, 90)
_WHITE = 255
# Wide enough for a title to be read.
_NARROWEST = 640


@dataclasses.dataclass(frozen=True)
class Block:
    """A picture with what is written below it.

    Attributes:
        picture: uint8 `(h, w, 3)`; all of a sheet have one size.
        caption: One line.
    """

    picture: np.ndarray
    caption: str


def sheet(title: str, note: str, blocks: Sequence[Block], columns: int) -> np.ndarray:
    """Lays blocks out row after row under a title.

    Args:
        title: One line.
        note: How to read the sheet; broken into lines.
        blocks: At least one.
        columns: Blocks in a row.

    Returns:
        uint8 `(height, width, 3)`.
    """
    height, width = blocks[0].picture.shape[:2]
    columns = min(columns, len(blocks))
    line = round(_TEXT * _LINE)
    inner = max(columns * width + (columns - 1) * _GAP, _NARROWEST)
    lines = _broken(note, inner)
    top = _MARGIN + round(_TITLE * _LINE) + len(lines) * line + _GAP
    row_height = height + line + _GAP
    rows = -(-len(blocks) // columns)
    canvas = Image.new("RGB", (inner + 2 * _MARGIN, top + rows * row_height), (_WHITE,) * 3)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), _fitting(title, inner, _TITLE), _INK, font=_font(_TITLE))
    for number, text in enumerate(lines):
        place = (_MARGIN, _MARGIN + round(_TITLE * _LINE) + number * line)
        draw.text(place, text, _PALE, font=_font(_TEXT))
    for number, block in enumerate(blocks):
        row, column = divmod(number, columns)
        left, upper = _MARGIN + column * (width + _GAP), top + row * row_height
        canvas.paste(Image.fromarray(block.picture), (left, upper))
        caption = _fitting(block.caption, width, _TEXT)
        draw.text((left, upper + height + 3), caption, _INK, font=_font(_TEXT))
    return np.asarray(canvas)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture in another size; pixels stay sharp where they become whole squares.

    Args:
        picture: uint8 `(s, s, 3)`.
        side: In pixels.
    """
    if picture.shape[0] == side:
        return picture
    whole = side % picture.shape[0] == 0
    way = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((side, side), way))


def beside(pictures: Sequence[np.ndarray], gap: int = 2) -> np.ndarray:
    """Pictures of one height in a row, with white gaps.

    >>> beside([np.zeros((1, 1, 3), np.uint8)] * 2, gap=1)[0, :, 0].tolist()
    [0, 255, 0]
    """
    blank = np.full((pictures[0].shape[0], gap, 3), _WHITE, np.uint8)
    parts = [part for picture in pictures for part in (picture, blank)]
    return np.concatenate(parts[:-1], axis=1)


def above(pictures: Sequence[np.ndarray], gap: int = 2) -> np.ndarray:
    """Pictures of one width below each other, with white gaps."""
    return beside([picture.swapaxes(0, 1) for picture in pictures], gap).swapaxes(0, 1)


def framed(
    picture: np.ndarray, box: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> np.ndarray:
    """A picture with a thin frame in it.

    Args:
        picture: uint8 `(h, w, 3)`.
        box: Left, upper, right and lower pixel of the frame.
        colour: Of it.
    """
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).rectangle(box, outline=colour, width=2)
    return np.asarray(image)


def _font(size: int):
    return ImageFont.load_default(size)


def _fitting(text: str, width: int, size: int) -> str:
    """The text, cut where it is too wide."""
    font, cut = _font(size), text
    while cut and font.getlength(cut if cut == text else cut + "...") > width:
        cut = cut[:-1]
    return cut if cut == text else cut + "..."


def _broken(text: str, width: int) -> list[str]:
    """The text in lines that are not too wide, as far as its words allow."""
    font, lines = _font(_TEXT), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
