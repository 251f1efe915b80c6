"""Sheets: pictures with captions in rows, with a title and a note on how to read them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN, _GAP = 24, 18
_TITLE, _TEXT = 26, 15
_LINE = 1.35
_CAPTION = 24
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


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Pictures in rows, with what is said of them.

    Attributes:
        name: Of its file, without .png.
        title: What is shown.
        note: How to read it.
        picture: The pictures with their captions, without title and note, uint8 `(h, w, 3)`.
    """

    name: str
    title: str
    note: str
    picture: np.ndarray

    def titled(self) -> np.ndarray:
        """The picture below its title and note, for where they are not told otherwise."""
        height, width = self.picture.shape[:2]
        inner = max(width, _NARROWEST)
        line = round(_TEXT * _LINE)
        lines = _broken(self.note, inner)
        below = _MARGIN + round(_TITLE * _LINE)
        top = below + len(lines) * line + _GAP
        size = (inner + 2 * _MARGIN, top + height + _MARGIN)
        canvas = Image.new("RGB", size, (_WHITE,) * 3)
        draw = ImageDraw.Draw(canvas)
        title = _fitting(self.title, inner, _TITLE)
        draw.text((_MARGIN, _MARGIN), title, _INK, font=_font(_TITLE))
        for number, text in enumerate(lines):
            draw.text((_MARGIN, below + number * line), text, _PALE, font=_font(_TEXT))
        canvas.paste(Image.fromarray(self.picture), (_MARGIN, top))
        return np.asarray(canvas)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How blocks are laid out.

    Attributes:
        columns: Blocks in a row.
        on_a_sheet: Blocks on a sheet; what is left goes on another.
    """

    columns: int
    on_a_sheet: int


def sheets_of(
    name: str, title: str, note: str, blocks: Sequence[Block], layout: Layout
) -> list[Sheet]:
    """Lays blocks out row after row, on as many sheets as that takes.

    Args:
        name: Of the first sheet; others have a number behind it.
        title: What is shown.
        note: How to read it.
        blocks: At least one.
        layout: How.

    >>> block = Block(np.zeros((8, 8, 3), np.uint8), "0")
    >>> [sheet.name for sheet in sheets_of("all", "All", "", [block] * 5, Layout(2, 4))]
    ['all', 'all_2']
    """
    starts = range(0, len(blocks), layout.on_a_sheet)
    return [
        Sheet(
            f"{name}_{page}" if page > 1 else name,
            f"{title} ({page} of {len(starts)})" if len(starts) > 1 else title,
            note,
            _in_rows(blocks[start : start + layout.on_a_sheet], layout.columns),
        )
        for page, start in enumerate(starts, start=1)
    ]


def _in_rows(blocks: Sequence[Block], columns: int) -> np.ndarray:
    """Blocks with their captions, uint8 `(h, w, 3)`."""
    height, width = blocks[0].picture.shape[:2]
    columns = min(columns, len(blocks))
    below = height + _CAPTION
    size = (
        columns * width + (columns - 1) * _GAP,
        -(-len(blocks) // columns) * (below + _GAP) - _GAP,
    )
    canvas = Image.new("RGB", size, (_WHITE,) * 3)
    draw = ImageDraw.Draw(canvas)
    for number, block in enumerate(blocks):
        row, column = divmod(number, columns)
        left, upper = column * (width + _GAP), row * (below + _GAP)
        canvas.paste(Image.fromarray(block.picture), (left, upper))
        caption = _fitting(block.caption, width, _TEXT)
        draw.text((left, upper + height + 3), caption, _INK, font=_font(_TEXT))
    return np.asarray(canvas)


def resized(picture: np.ndarray, side: int, *, sharp: bool = False) -> np.ndarray:
    """A square picture in another size.

    Args:
        picture: uint8 `(s, s, 3)`.
        side: In pixels.
        sharp: Whether each pixel becomes a square, as is right for weights.
    """
    if picture.shape[0] == side:
        return picture
    way = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
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
