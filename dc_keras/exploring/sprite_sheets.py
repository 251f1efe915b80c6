"""Sprite sheets: many thumbnails in one picture, of which a page shows cells.

A browser opens one file where it would open a thousand. Cells are as wide as a whole number of
JPEG's blocks, so that no cell shows in its neighbours.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from dc_keras.data.pixels.grid import grid

CELL = 64
COLUMNS = 32
CELLS = COLUMNS * COLUMNS
# At 64 pixels a lower quality shows, a higher one only takes room.
_QUALITY = 82


def sprite_sheets(thumbnails: np.ndarray, order: np.ndarray) -> Iterator[bytes]:
    """Packs thumbnails into JPEG files, row by row.

    Args:
        thumbnails: uint8 `(n, 64, 64, 3)`; may be mapped from a file.
        order: int `(m,)`, which thumbnail stands in each cell; they may stand in several.

    Yields:
        Sheets of 2,048 pixels by as many rows as there are, at most 32, with 1,024 cells each.

    >>> sheet = next(sprite_sheets(np.zeros((1, 64, 64, 3), np.uint8), np.zeros(40, int)))
    >>> Image.open(io.BytesIO(sheet)).size
    (2048, 128)
    """
    for start in range(0, len(order), CELLS):
        sheet = grid(thumbnails[order[start : start + CELLS]], COLUMNS, blank=0)
        with io.BytesIO() as file:
            Image.fromarray(sheet).save(file, "JPEG", quality=_QUALITY)
            yield file.getvalue()
