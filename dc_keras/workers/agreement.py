"""What all workers must have in common before they begin: settings and images."""

import hashlib
from collections.abc import Sequence

import numpy as np

from dc_keras.clustering.spread import Workers
from dc_keras.errors import InputError

# Names that are compared at a time.
_BLOCK = 1024


def check_same(what: str, lines: Sequence[str], workers: Workers, remedy: str) -> None:
    """Checks that all workers have the same lines; all must call it.

    Their number and a checksum of every thousand travel; of the first that differ, the lines.

    Args:
        what: What they are, in a few words.
        lines: Of this worker.
        workers: Who compare.
        remedy: What to do if they differ, a sentence.

    Raises:
        InputError: With the first difference, on all workers.
    """
    if workers.count == 1:
        return
    counts = _of_each(np.array([len(lines)]), workers)[:, 0]
    shared = int(counts.min())
    starts = range(0, shared, _BLOCK)
    # Up to the end of the shortest list, so that the last blocks end at the same place on all.
    own = [_checksum(lines[start : min(start + _BLOCK, shared)]) for start in starts]
    sums = _of_each(np.array(own, np.int64), workers)
    differing = np.flatnonzero((sums != sums[0]).any(axis=0))
    if not len(differing):
        if (counts == shared).all():
            return
        line = shared
    else:
        start = _BLOCK * int(differing[0])
        block = lines[start : min(start + _BLOCK, shared)]
        of_lines = _of_each(np.array([_checksum([line]) for line in block], np.int64), workers)
        line = start + int(np.flatnonzero((of_lines != of_lines[0]).any(axis=0))[0])
    mine = lines[line].encode(errors="backslashreplace") if line < len(lines) else b""
    found = []
    for rank in range(workers.count):
        received = bytes_of(rank, mine, workers).decode(errors="replace")
        found.append(f"  worker {rank}: {received or 'nothing'} (of {counts[rank]:,})")
    raise InputError(
        f"The workers of a run differ in their {what}. Received, of number {line + 1}:\n"
        + "\n".join(found)
        + f"\nExpected the same on all. {remedy}"
    )


def bytes_of(rank: int, given: bytes, workers: Workers) -> bytes:
    """The bytes that one worker gives, to all; all must call it.

    Args:
        rank: Of that worker.
        given: Its bytes; those of others do not matter.
        workers: All of them.
    """
    size = int(_of_each(np.array([len(given)]), workers)[rank, 0])
    placed = np.zeros(size, np.int32)
    if rank == workers.rank:
        placed[:] = np.frombuffer(given, np.uint8)
    return workers.total(placed).astype(np.uint8).tobytes()


def _checksum(lines: Sequence[str]) -> int:
    """Of lines, in 63 bits."""
    joined = "\n".join(lines).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(joined).digest()[:8], "little") >> 1


def _of_each(values: np.ndarray, workers: Workers) -> np.ndarray:
    """What each worker gives, int64 `(workers, m)`."""
    placed = np.zeros((workers.count, len(values)), np.int64)
    placed[workers.rank] = values
    return workers.total(placed)
