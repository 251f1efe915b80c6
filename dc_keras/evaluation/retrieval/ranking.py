"""Ranks images by their dot product with queries: exact, in blocks."""

from collections.abc import Iterator

import numpy as np

from dc_keras.seeds import numpy_rng

# Queries are answered in blocks of so few that the block's similarities (queries x images, float32)
# have at most so many cells: 64 MB.
_BLOCK_CELLS = 2**24


def rank(queries: np.ndarray, database: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Ranks all images for each query.

    Images of equal similarity stand in a random order, the same for all queries: the order of the
    files often tells the classes, which would make a network that tells nothing apart look good.

    Args:
        queries: float32 `(q, d)`, of unit length.
        database: float32 `(n, d)`, of unit length.
        seed: Decides between equals.

    Yields:
        For each query rows of the database, the most similar first, int64 `(n,)`. Memory beside the
        arguments: 64 MB (or one query's similarities, if they take more), and 32 bytes an image.

    >>> [order.tolist() for order in rank(np.eye(2)[:1], np.eye(2), seed=31)]
    [[0, 1]]
    """
    ties = numpy_rng(seed, "retrieval ties").permutation(len(database))
    block = max(1, _BLOCK_CELLS // max(1, len(database)))
    for start in range(0, len(queries), block):
        for similarities in queries[start : start + block] @ database.T:
            yield np.lexsort((ties, -similarities))
