import numpy as np

from dc_keras.evaluation.retrieval import ranking
from dc_keras.evaluation.retrieval.ranking import rank


def test_it_is_the_order_of_dot_products_in_blocks_of_any_size(rng, monkeypatch):
    queries, database = (rng.normal(size=(n, 5)).astype(np.float32) for n in (7, 30))
    expected = np.argsort(-(queries @ database.T), axis=1)
    for cells in (2**24, 60, 1):
        monkeypatch.setattr(ranking, "_BLOCK_CELLS", cells)
        np.testing.assert_array_equal(list(rank(queries, database, seed=31)), expected)


def test_equals_stand_in_random_order_by_the_seed():
    same = np.ones((50, 2), np.float32)
    first, other = (next(rank(same[:1], same, seed=seed)).tolist() for seed in (31, 32))
    assert sorted(first) == list(range(50)) != first != other
    assert next(rank(same[:1], same, seed=31)).tolist() == first
