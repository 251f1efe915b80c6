"""Power iteration clustering by hand, against the definition in loops and in exact arithmetic."""

import decimal

import numpy as np
import pytest
import scipy.sparse

from dc_keras.clustering.pic import (
    centrality,
    climb,
    limit_clusters,
    merge_singletons,
    nearest_neighbours,
    neighbour_graph,
    power_iteration_clustering,
)
from dc_keras.errors import InputError


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype("float32")


def groups(rng, count, each, dim, noise):
    middle = rng.normal(size=(count, dim))
    truth = np.repeat(np.arange(count), each)
    return unit(middle[truth] + noise * rng.normal(size=(len(truth), dim))), truth


def naive(points):
    """The definition, an image at a time. Returns labels and the number of single images."""
    n = len(points)
    squared = ((points[:, None].astype("float64") - points) ** 2).sum(-1)
    neighbours = [[j for j in np.argsort(squared[i]) if j != i][:5] for i in range(n)]
    w = np.zeros((n, n))
    for i in range(n):
        for j in neighbours[i]:
            w[i, j] = np.exp(-squared[i, j] / 0.2**2)
    w = w + w.T
    v = np.full(n, 1 / n)
    for _ in range(200):
        v = 0.001 * (w.T @ v) + (1 - 0.001) / n
        v = v / v.sum()
    peaks = []
    for i in range(n):
        at = i
        while True:
            best, gain = at, 0.0
            for j in range(n):
                if w[at, j] * (v[j] - v[at]) > gain:
                    best, gain = j, w[at, j] * (v[j] - v[at])
            if best == at:
                break
            at = best
        peaks.append(at)
    alone = [peaks.count(peak) == 1 for peak in peaks]
    labels = list(peaks)
    for i in range(n):
        if alone[i]:
            for j in np.argsort(squared[i]):
                if not alone[j]:
                    labels[i] = peaks[j]
                    break
    return labels, sum(alone)


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@pytest.mark.parametrize(("dim", "noise"), [(3, 0.3), (8, 3.0)])
def test_against_the_definition_in_loops(rng, dim, noise):
    """Points are close enough here for float64 to tell apart the values of v as they are."""
    single = 0
    for _ in range(20):
        points, _ = groups(rng, 6, 25, dim, noise)
        expected, alone = naive(points)
        found = power_iteration_clustering(points)
        assert found.dtype == np.int32 and sorted(set(found)) == list(range(found.max() + 1))
        assert same_partition(found.tolist(), expected)
        single += alone
    assert (single > 0) == (dim == 8), "no single image was merged, so that was not tested"


def test_separate_groups_are_never_mixed(rng):
    points, truth = groups(rng, 10, 40, 32, 0.05)
    found = power_iteration_clustering(points)
    assert len(set(zip(found, truth, strict=True))) == len(set(found)) >= 10
    assert np.bincount(found).min() >= 2


def test_nearest_neighbours_against_brute_force(rng):
    points = unit(rng.normal(size=(60, 8)))
    neighbours, squared = nearest_neighbours(points, 5)
    distances = ((points[:, None].astype("float64") - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(neighbours, distances.argsort(1)[:, :5])
    # Faiss computes |x|^2 - 2xy + |y|^2 in float32.
    np.testing.assert_allclose(squared, np.sort(distances)[:, :5], atol=1e-5)


def test_no_image_is_its_own_neighbour_among_copies(rng):
    points = np.repeat(unit(rng.normal(size=(3, 8))), 20, axis=0)
    neighbours, squared = nearest_neighbours(points, 5)
    assert neighbours.shape == (60, 5)
    assert (neighbours != np.arange(60)[:, None]).all()
    assert (neighbours // 20 == np.arange(60)[:, None] // 20).all() and squared.max() < 1e-6


def test_the_graph_is_symmetric_and_mutual_neighbours_count_twice():
    # Each knows one neighbour: 0 and 1 each other, 2 knows 1.
    graph = neighbour_graph(np.array([[1], [0], [1]]), np.array([[0.04], [0.04], [0.08]]))
    once, twice = np.exp(-0.08 / 0.04), 2 * np.exp(-1)
    expected = [[0, twice, 0], [twice, 0, once], [0, once, 0]]
    np.testing.assert_allclose(graph.toarray(), expected)


def test_centrality_keeps_its_digits_where_v_itself_has_none(rng):
    """Against the plain iteration with 80 decimals, on points as far apart as whitened ones are."""
    points = unit(rng.normal(size=(14, 256)))
    graph = neighbour_graph(*nearest_neighbours(points, 5))
    found = centrality(graph)
    with decimal.localcontext(prec=80):
        w = [[decimal.Decimal(float(x)) for x in row] for row in graph.toarray()]
        alpha, n = decimal.Decimal("0.001"), 14
        v = [decimal.Decimal(1) / n] * n
        for _ in range(200):
            product = [sum(w[i][j] * v[j] for j in range(n)) for i in range(n)]
            v = [alpha * p + (1 - alpha) / n for p in product]
            total = sum(v)
            v = [x / total for x in v]
        differences = [float((x - v[0]) * n) for x in v]
    # Smaller than float64 can tell beside 1: the plain iteration would find no differences at all.
    assert 0 < np.abs(differences).max() < 1e-16
    np.testing.assert_allclose(found - found[0], differences, rtol=1e-9, atol=1e-30)


def test_climbing_by_hand():
    # A way 0 - 1 - 2 - 3 - 4 with heights 1 2 5 3 4: peaks are 2 and 4. Image 3 has a steeper way
    # to 2 (gain 2) than to 4 (gain 1), unless the edge to 4 is three times as heavy.
    def graph(last):
        edges = np.diag([1.0, 1.0, 1.0, last], 1)
        return scipy.sparse.csr_array(edges + edges.T)

    heights = np.array([1.0, 2, 5, 3, 4])
    assert climb(graph(1.0), heights).tolist() == [2, 2, 2, 2, 4]
    assert climb(graph(3.0), heights).tolist() == [2, 2, 2, 4, 4]


def test_a_long_way_up():
    n = 5000
    edges = scipy.sparse.diags_array([np.ones(n - 1)], offsets=[1])
    graph = (edges + edges.T).tocsr()
    assert (climb(graph, np.arange(n, dtype=float)) == n - 1).all()


def test_single_images_by_hand():
    points = np.array([[0.0], [1], [2], [3], [4]], "float32")
    peaks = np.array([0, 0, 2, 3, 4])  # 2, 3 and 4 are alone
    neighbours = np.array([[1], [0], [1], [2], [3]])
    # 2 knows image 1, of the cluster of 0. The others know single images alone: all are searched.
    assert merge_singletons(points, neighbours, peaks).tolist() == [0, 0, 0, 0, 0]
    everybody_alone = np.arange(5)
    assert merge_singletons(points, neighbours, everybody_alone).tolist() == [0, 1, 2, 3, 4]


def test_limiting_the_number_of_clusters():
    points = np.array([[0], [0], [0], [10], [10], [11], [4], [7], [7]], "float32")
    assignments = np.array([0, 0, 0, 1, 1, 2, 3, 4, 4], "int32")
    # The largest three are 0, 1 and 4, at 0, 10 and 7. The others are at 11 and 4.
    limited, merged = limit_clusters(points, assignments, 3)
    assert limited.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and merged == 2


def test_few_enough_clusters_stay_as_they_are():
    assignments = np.array([0, 1, 1], "int32")
    same, merged = limit_clusters(np.zeros((3, 1), "float32"), assignments, 2)
    assert same is assignments and merged == 0


def test_copies_of_one_image_are_clustered():
    copies = np.tile(unit(np.ones((1, 4))), (30, 1))
    assert len(power_iteration_clustering(copies)) == 30


def test_two_images_are_clustered():
    assert power_iteration_clustering(unit(np.array([[1.0, 0], [0, 1]]))).shape == (2,)


def test_a_single_image_has_no_neighbours():
    with pytest.raises(InputError, match="Received: 1 image. Expected at least 2"):
        power_iteration_clustering(unit(np.ones((1, 4))))
