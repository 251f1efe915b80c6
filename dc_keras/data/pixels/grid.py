"""Pictures laid out in rows, as one picture."""

import numpy as np


def grid(pictures: np.ndarray, columns: int, rows: int = 0, blank: int = 255) -> np.ndarray:
    """Lays pictures of one size out without gaps, row after row.

    Args:
        pictures: uint8 `(n, h, w, c)`.
        columns: Pictures in a row.
        rows: How many rows; 0: as many as it takes.
        blank: The value of places without a picture.

    Returns:
        uint8 `(rows * h, columns * w, c)`.

    >>> grid(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), columns=2)[..., 0]
    array([[  0,   1],
           [  2, 255]], dtype=uint8)
    """
    count, height, width, channels = pictures.shape
    rows = rows or -(-count // columns)
    cells = np.full((rows * columns, height, width, channels), blank, np.uint8)
    cells[:count] = pictures
    in_rows = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return in_rows.reshape(rows * height, columns * width, channels)
