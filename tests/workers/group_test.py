"""Exchanges of arrays. Those of several processes are in workers_test; here is one, by itself."""

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.machine import make_strategy
from dc_keras.workers import group
from dc_keras.workers.group import WorkerGroup, told_of_others


@pytest.fixture(params=["one", "mirrored"])
def alone(request, two_devices):
    """A group of one worker, with one or two replicas."""
    return WorkerGroup(make_strategy(request.param, 2), rank=0, count=1)


@pytest.mark.parametrize("kind", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5)])
def test_a_worker_counts_once_whatever_its_replicas(alone, kind, shape, monkeypatch):
    monkeypatch.setattr(group, "_AT_A_TIME", 4)
    values = np.arange(np.prod(shape), dtype=kind).reshape(shape) * 3 + 1
    total = alone.total(values)
    assert total.dtype == values.dtype
    np.testing.assert_array_equal(total, values)


def test_no_exchange_is_of_32_bit_integers(alone):
    """TensorFlow adds up none of those on GPUs; arrays of such types come back as they went."""
    for kind in ("int32", "int64", "float32", "float64"):
        alone.total(np.arange(3, dtype=kind))
    alone.barrier()
    alone.from_first(lambda: [np.arange(5, dtype="int32")])
    assert set(alone._exchanges) == {"int64", "float32", "float64"}


def test_what_the_first_computes_keeps_types_and_shapes(alone):
    given = [
        np.float32(3.5),
        np.arange(5, dtype="uint8"),
        np.ones((2, 3), "float64"),
        np.array([True, False]),
        np.zeros((0, 4), "int64"),
        np.array(7, "uint32"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ]
    for sent, received in zip(given, alone.from_first(lambda: given), strict=True):
        assert received.dtype == np.asarray(sent).dtype
        assert received.shape == np.asarray(sent).shape
        np.testing.assert_array_equal(received, sent)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("{{function_node __x}} Collective ops is aborted by: Socket closed\nAdditional", "Coll"),
        ("Graph execution error:\n\nx\nCollective ops is aborted by: failed\nmore", "Collective"),
        ("Socket closed\n while calling /tensorflow.WorkerService/RecvBuf:", "while calling"),
        ("images/3.png; No such file or directory", ""),
        ("", ""),
    ],
)
def test_errors_that_are_about_other_workers(message, told):
    error = tf.errors.UnavailableError(None, None, message)
    found = told_of_others(error).strip()
    assert found.startswith(told) and bool(found) == bool(told)
    assert "}}" not in found
