"""What the workers of a run tell each other: arrays, by TensorFlow's own collectives.

There is one kind of exchange, the sum of an array over all workers. Rows of different workers are
put together by it (each gives zeros for those of others), and what the first worker knows comes to
all (the others give zeros). An exchange ends when every worker has come to it, so all of them must
do the same in the same order; `total` of a number takes 4 ms between two processes of one machine.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dc_keras.machine import devices_of

# Numbers that travel at a time: messages of gRPC must stay below 2 GB.
_AT_A_TIME = 1 << 24


class WorkerGroup:
    """The workers under a strategy; see `dc_keras.clustering.spread.Workers`.

    Args:
        strategy: A MultiWorkerMirroredStrategy.
        rank: Number of this worker.
        count: How many there are.
    """

    def __init__(self, strategy: tf.distribute.Strategy, rank: int, count: int):
        self.strategy = strategy
        self.rank = rank
        self.count = count
        self._exchanges: dict[str, Callable] = {}

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of all workers' arrays of one shape and type, elementwise."""
        # TensorFlow adds up no 32-bit integers of GPUs.
        kind = "int64" if values.dtype == np.int32 else values.dtype.name
        if kind not in self._exchanges:
            self._exchanges[kind] = self._adding(kind)
        flat = np.ascontiguousarray(values, kind).reshape(-1)
        found = np.empty_like(flat)
        for start in range(0, len(flat), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            found[part] = self._local(self._exchanges[kind](tf.constant(flat[part])))
        return found.astype(values.dtype, copy=False).reshape(values.shape)

    def from_first(self, compute: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """What the first worker computes, to all of them."""
        arrays = list(compute()) if self.rank == 0 else []
        header = json.dumps([[array.dtype.str, array.shape] for array in arrays]).encode()
        size = int(self.total(np.array([len(header) * (self.rank == 0)], np.int64))[0])
        described = json.loads(self._bytes_from_first(header, size))
        if self.rank:
            arrays = [np.empty(shape, np.dtype(kind)) for kind, shape in described]
        found = []
        for group in _in_groups(arrays):
            given = b"".join(array.tobytes() for array in group)
            received = memoryview(self._bytes_from_first(given, len(given)))
            for array in group:
                part, received = received[: array.nbytes], received[array.nbytes :]
                found.append(np.frombuffer(part, array.dtype).reshape(array.shape).copy())
        return found

    def barrier(self) -> None:
        """Waits until all workers have come here."""
        self.total(np.zeros(1, np.int32))

    def _bytes_from_first(self, given: bytes, size: int) -> bytes:
        """Bytes of the first worker to all, as 64-bit integers: collectives know no bytes."""
        padded = np.zeros(-(-size // 8) * 8, np.uint8)
        if self.rank == 0:
            padded[:size] = np.frombuffer(given, np.uint8)
        return self.total(padded.view(np.int64)).tobytes()[:size]

    def _adding(self, kind: str) -> Callable:
        """Makes the exchange of vectors of a type."""
        replicas = len(devices_of(self.strategy))

        def on_replica(values):
            context = tf.distribute.get_replica_context()
            # Each replica of a worker would count.
            is_first = context.replica_id_in_sync_group % replicas == 0
            given = tf.where(is_first, values, tf.zeros_like(values))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, given)

        def add_up(values):
            return self.strategy.run(on_replica, args=(values,))

        return tf.function(add_up, input_signature=[tf.TensorSpec([None], kind)], autograph=False)

    def _local(self, replicas) -> np.ndarray:
        return self.strategy.experimental_local_results(replicas)[0].numpy()


def _in_groups(arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Arrays in order, small ones together: each exchange takes its time, whatever travels."""
    groups: list[list[np.ndarray]] = []
    for array in arrays:
        if not groups or sum(one.nbytes for one in groups[-1]) + array.nbytes > 4 * _AT_A_TIME:
            groups.append([])
        groups[-1].append(array)
    return groups


_SIGNS = ("Collective ops is aborted", "RecvBuf", "heartbeat")


def told_of_others(error: tf.errors.OpError) -> str:
    """The line that tells that another worker has gone; empty if an operation failed by itself."""
    lines = (error.message or "").splitlines()
    found = [line for line in lines if any(sign in line for sign in _SIGNS)]
    return found[0].rpartition("}} ")[2] if found else ""
