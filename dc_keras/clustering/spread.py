"""Rows of a matrix that is spread over workers: each holds those of its own share of the images.

No worker ever holds all descriptors. What all need (sums over clusters, the rows of a cluster that
is split) is added up between them by `Workers.total`; all of them do the same at the same time.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np


class Workers(Protocol):
    """Processes that work together, each on a share of the images.

    Attributes:
        rank: Number of this one, from 0.
        count: How many there are.
    """

    rank: int
    count: int

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of all workers' arrays of one shape, elementwise; all must call it.

        Args:
            values: int32, int64, float32 or float64.
        """

    def from_first(self, compute: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """What the first worker computes, to all of them; all must call it.

        Args:
            compute: Called on the first worker alone.
        """


class Alone:
    """A process without others."""

    rank, count = 0, 1

    def total(self, values: np.ndarray) -> np.ndarray:
        """The values themselves."""
        return values

    def from_first(self, compute: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """What is computed."""
        return list(compute())


ALONE = Alone()


def share_of(total: int, workers: Workers) -> tuple[int, int]:
    """The rows that are a worker's: those from the first number up to the second.

    >>> share_of(10, ALONE)
    (0, 10)
    """
    return total * workers.rank // workers.count, total * (workers.rank + 1) // workers.count


@dataclasses.dataclass(frozen=True)
class SpreadRows:
    """A matrix of which each worker holds consecutive rows.

    Attributes:
        own: Those of this worker, float32 `(m, dim)`, C-contiguous.
        first: The first of them among all.
        total: Rows of all workers.
        workers: Who holds the others.

    >>> rows = SpreadRows(np.float32([[1], [2], [3]]), first=0, total=3, workers=ALONE)
    >>> len(rows), rows[np.array([2, 0])].tolist()
    (3, [[3.0], [1.0]])
    """

    own: np.ndarray
    first: int
    total: int
    workers: Workers

    def __len__(self) -> int:
        return self.total

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of all workers, and columns."""
        return self.total, self.own.shape[1]

    @property
    def end(self) -> int:
        """The row behind the last of this worker."""
        return self.first + len(self.own)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Some of the rows, to all workers, which must ask for the same: integers `(m,)`."""
        here = (indices >= self.first) & (indices < self.end)
        found = np.zeros((len(indices), self.own.shape[1]), self.own.dtype)
        found[here] = self.own[indices[here] - self.first]
        return self.workers.total(found)

    def select(self, indices: np.ndarray) -> "SpreadRows":
        """The matrix of some rows, which stay where they are.

        Args:
            indices: Which ones, ascending, integers `(m,)`.
        """
        start, stop = np.searchsorted(indices, [self.first, self.end])
        own = self.own[indices[start:stop] - self.first]
        return SpreadRows(own, int(start), len(indices), self.workers)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """What each worker knows of its own rows, to all workers.

        Args:
            values: Of the own rows, `(len(own), ...)`.

        Returns:
            Of all rows, `(total, ...)`.
        """
        placed = np.zeros((self.total, *values.shape[1:]), values.dtype)
        placed[self.first : self.end] = values
        return self.workers.total(placed)

    def gathered(self) -> np.ndarray:
        """All rows on all workers, float32 `(total, dim)`: as much memory as that takes."""
        return self.everywhere(self.own)
