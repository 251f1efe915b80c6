"""Several workers as threads of one process, for what they compute together on arrays."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dc_keras.clustering.spread import SpreadRows, share_of


class _Threads:
    """What the threads share: a place for each one's array, and a barrier around its use."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=60)
        self.given = [None] * count


class ThreadWorker:
    """One of them; see `dc_keras.clustering.spread.Workers`."""

    def __init__(self, rank, threads):
        self.rank, self.count = rank, len(threads.given)
        self._threads = threads
        self.sent = 0

    def total(self, values):
        assert values.dtype in (np.int32, np.int64, np.float32, np.float64), values.dtype
        self._threads.given[self.rank] = values
        self._threads.barrier.wait()
        shapes = {array.shape for array in self._threads.given}
        assert len(shapes) == 1, shapes
        total = np.sum(self._threads.given, axis=0, dtype=values.dtype)
        self._threads.barrier.wait()
        self.sent += values.nbytes
        return total

    def from_first(self, compute):
        if self.rank == 0:
            self._threads.given[0] = list(compute())
        self._threads.barrier.wait()
        arrays = [np.copy(array) for array in self._threads.given[0]]
        self._threads.barrier.wait()
        return arrays


def together(count, work):
    """What each of `count` workers returns from `work(worker)`, run at the same time."""
    threads = _Threads(count)

    def run(rank):
        try:
            return work(ThreadWorker(rank, threads))
        except BaseException:
            threads.barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run, rank) for rank in range(count)]
    failed = [future.exception() for future in futures if future.exception()]
    for error in failed:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]


def spread(matrix, worker):
    """The worker's own part of a matrix."""
    first, end = share_of(len(matrix), worker)
    return SpreadRows(matrix[first:end], first, len(matrix), worker)
