"""Which rows of every batch one of several workers reads and trains on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Share:
    """Parts of every batch, of which each replica gets one, in the order of the replicas.

    All workers draw the same images for the same batches; each reads those of its own parts.

    Attributes:
        first: The first part.
        count: Parts of this worker, one after the other.
        parts: Parts of the whole batch.
    """

    first: int = 0
    count: int = 1
    parts: int = 1

    def rows(self, batch_size: int) -> tuple[int, int]:
        """Rows of a batch that are of this share: from the first number up to the second.

        >>> Share(first=1, count=1, parts=2).rows(10)
        (5, 10)
        """
        size = self.part_size(batch_size)
        return self.first * size, (self.first + self.count) * size

    def part_size(self, batch_size: int) -> int:
        """Rows in a part of a batch."""
        return batch_size // self.parts


WHOLE = Share()
