"""Rows that are spread over workers are those of one matrix, whatever is asked of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.spread import ALONE, share_of
from thread_workers import spread, together


class Rank:
    def __init__(self, rank, count):
        self.rank, self.count = rank, count


@given(total=st.integers(0, 10_000), count=st.integers(1, 300))
def test_shares_are_all_rows_once_and_differ_by_one_at_most(total, count):
    shares = [share_of(total, Rank(rank, count)) for rank in range(count)]
    assert shares[0][0] == 0
    assert shares[-1][1] == total
    assert [end for _, end in shares[:-1]] == [first for first, _ in shares[1:]]
    sizes = [end - first for first, end in shares]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=20)
@given(
    count=st.integers(1, 4),
    rows=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_rows_selections_and_values_are_those_of_the_whole(count, rows, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 3)).astype("float32")
    asked = rng.integers(0, rows, 7)
    chosen = np.flatnonzero(rng.random(rows) < 0.5)

    def work(worker):
        whole = spread(matrix, worker)
        part = whole.select(chosen)
        return whole[asked], part.gathered(), whole.everywhere(whole.own[:, 0] * 2), len(part)

    for found, part, doubled, length in together(count, work):
        np.testing.assert_array_equal(found, matrix[asked])
        np.testing.assert_array_equal(part, matrix[chosen])
        np.testing.assert_array_equal(doubled, matrix[:, 0] * 2)
        assert length == len(chosen)


def test_one_alone_has_all():
    matrix = np.arange(6, dtype="float32").reshape(3, 2)
    assert ALONE.total(matrix) is matrix
    assert spread(matrix, ALONE).shape == (3, 2)
    assert [array.tolist() for array in ALONE.from_first(lambda: [matrix[0]])] == [[0, 1]]


def test_what_fails_on_one_worker_is_seen():
    # Of the helper itself: a worker that fails must not leave the others waiting.
    def work(worker):
        if worker.rank == 1:
            raise ValueError("on purpose")
        return worker.total(np.zeros(1))

    with pytest.raises(ValueError, match="on purpose"):
        together(3, work)
