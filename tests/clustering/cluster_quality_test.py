import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.cluster_quality import (
    accuracy_by_matching,
    adjusted_rand_index,
    cluster_quality,
    normalized_mutual_information,
    purity,
    size_statistics,
)

# Six images of two classes in three clusters; rows of the table are classes:
#     2 1 0
#     0 1 2
LABELS = np.array([0, 0, 0, 1, 1, 1])
CLUSTERS = np.array([0, 0, 1, 1, 2, 2])

partitions = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        *[st.lists(st.integers(0, 6), min_size=n, max_size=n).map(np.array) for _ in range(2)]
    )
)


def naive_nmi(a, b):
    """The formula, one pair of parts at a time."""
    n = len(a)

    def entropy(x):
        return -sum(np.mean(x == v) * math.log(np.mean(x == v)) for v in set(x.tolist()))

    information = 0.0
    for i, j in itertools.product(set(a.tolist()), set(b.tolist())):
        both = np.sum((a == i) & (b == j)) / n
        if both > 0:
            information += both * math.log(both / (np.mean(a == i) * np.mean(b == j)))
    return information / math.sqrt(entropy(a) * entropy(b))


def test_nmi_on_paper():
    # H(labels) = ln 2, H(clusters) = ln 3; given the cluster, a third of the images keeps ln 2 of
    # uncertainty, so I = 2/3 ln 2.
    expected = (2 / 3) * math.log(2) / math.sqrt(math.log(2) * math.log(3))
    assert normalized_mutual_information(LABELS, CLUSTERS) == pytest.approx(expected, rel=1e-12)


def test_nmi_takes_the_geometric_mean():
    # The arithmetic mean, sklearn's default, gives another number here.
    arithmetic = (2 / 3) * math.log(2) / ((math.log(2) + math.log(3)) / 2)
    assert abs(normalized_mutual_information(LABELS, CLUSTERS) - arithmetic) > 0.01


def test_nmi_of_partitions_without_entropy():
    constant, other = np.zeros(6, int), np.array([0, 0, 1, 1, 2, 2])
    assert normalized_mutual_information(constant, other) == 0
    assert normalized_mutual_information(other, constant) == 0
    assert normalized_mutual_information(constant, constant + 3) == 1


@settings(max_examples=100)
@given(partitions)
def test_nmi_agrees_with_the_formula(pair):
    a, b = pair
    value = normalized_mutual_information(a, b)
    assert 0 <= value <= 1
    if len(set(a.tolist())) > 1 and len(set(b.tolist())) > 1:
        # Differences of logarithms cancel to within some 1e-15 of the entropies.
        assert value == pytest.approx(naive_nmi(a, b), abs=1e-9)


def test_nmi_of_equal_partitions_is_never_above_one(rng):
    for parts in range(2, 60):
        a = rng.integers(0, parts, 500)
        value = normalized_mutual_information(a, rng.permutation(parts)[a])
        # Sums of logarithms round to some 1e-15.
        assert 1 - 1e-12 < value <= 1


@settings(max_examples=50)
@given(partitions)
def test_figures_ignore_numbering_and_order(pair):
    labels, assignments = pair
    rng = np.random.default_rng(len(labels))
    order = rng.permutation(len(labels))
    renumbered = cluster_quality(
        rng.permutation(7)[labels][order], 10 * rng.permutation(7)[assignments][order]
    )
    # The order of summation changes the last digits of NMI.
    assert renumbered == pytest.approx(cluster_quality(labels, assignments), abs=1e-9)


def test_accuracy_purity_and_rand_index_on_paper():
    # Matching class 0 with cluster 0 and class 1 with cluster 2 leaves the two images of cluster 1.
    assert accuracy_by_matching(LABELS, CLUSTERS) == pytest.approx(4 / 6)
    # Largest classes of the clusters: 2 + 1 + 2.
    assert purity(LABELS, CLUSTERS) == pytest.approx(5 / 6)
    # Pairs together: 6 in classes, 3 in clusters, 2 in both, of 15. Expected in both 6 * 3 / 15,
    # at most (6 + 3) / 2: (2 - 1.2) / (4.5 - 1.2).
    assert adjusted_rand_index(LABELS, CLUSTERS) == pytest.approx(0.8 / 3.3)


def test_accuracy_with_fewer_clusters_than_classes():
    # Only one of the three classes can have the single cluster.
    assert accuracy_by_matching([0, 0, 0, 1, 1, 2], np.zeros(6, int)) == pytest.approx(3 / 6)


def test_matching_beats_taking_the_largest_first():
    # Table 5 4 / 4 0: taking 5 first leaves 0, the best matching is 4 + 4 of 13.
    labels = np.repeat([0, 0, 1], [5, 4, 4])
    assignments = np.repeat([0, 1, 0], [5, 4, 4])
    assert accuracy_by_matching(labels, assignments) == pytest.approx(8 / 13)


@settings(max_examples=50)
@given(partitions)
def test_accuracy_agrees_with_trying_all_matchings(pair):
    labels, assignments = pair[0] % 4, pair[1] % 5
    best = max(
        sum(np.sum((labels == i) & (assignments == j)) for i, j in enumerate(clusters))
        for clusters in itertools.permutations(range(5), 4)
    )
    assert accuracy_by_matching(labels, assignments) == pytest.approx(best / len(labels))
    assert accuracy_by_matching(labels, assignments) <= purity(labels, assignments) + 1e-12


def test_both_means_of_nmi_on_paper():
    # Entropies log 2 and log 3. Two of three clusters tell the class, the third nothing:
    # I = 2/3 log 2.
    information = 2 / 3 * math.log(2)
    figures = cluster_quality(LABELS, CLUSTERS)
    assert figures["nmi"] == pytest.approx(information / math.sqrt(math.log(2) * math.log(3)))
    assert figures["nmi_arithmetic"] == pytest.approx(information / (math.log(6) / 2))


def test_perfect_clusters():
    figures = cluster_quality(LABELS, 7 - LABELS)
    names = ("nmi", "nmi_arithmetic", "ari", "accuracy", "purity")
    assert figures == pytest.approx(dict.fromkeys(names, 1))


def test_random_clusters_have_no_adjusted_agreement(rng):
    figures = cluster_quality(rng.integers(0, 10, 20000), rng.integers(0, 10, 20000))
    # Of 2e8 pairs a tenth agrees by chance; the index strays from 0 by some 1e-4.
    assert abs(figures["ari"]) < 1e-3
    # 81 degrees of freedom / (2 n) nats over ln 10: 9e-4 expected.
    assert 0 < figures["nmi"] < 3e-3
    # A tenth is expected, and the choice of the matching adds some standard errors of 0.002.
    assert 0.1 < figures["accuracy"] < 0.12


def test_different_images_are_refused():
    with pytest.raises(ValueError, match="3 and 2 entries"):
        cluster_quality(np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match="0 and 0 entries"):
        purity(np.array([], int), np.array([], int))


def test_sizes_on_paper():
    # Sizes 4, 2, 2, 0: entropy 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2, of at most ln 4 = 2 ln 2.
    figures = size_statistics(np.array([0, 0, 0, 0, 1, 1, 2, 2]), 4)
    assert figures == pytest.approx(
        {
            "smallest": 0,
            "median": 2,
            "largest": 4,
            "largest_fraction": 0.5,
            "empty": 1,
            "entropy": 1.5 * math.log(2),
            "normalized_entropy": 0.75,
        }
    )


def test_sizes_of_even_and_of_collapsed_clusters():
    even = size_statistics(np.arange(30) % 10, 10)
    assert (even["smallest"], even["largest"], even["empty"]) == (3, 3, 0)
    assert even["normalized_entropy"] == pytest.approx(1)
    collapsed = size_statistics(np.zeros(30, int), 10)
    assert (collapsed["largest_fraction"], collapsed["empty"]) == (1, 9)
    assert math.copysign(1, collapsed["entropy"]) == 1 and collapsed["entropy"] == 0
    assert size_statistics(np.zeros(3, int), 1)["normalized_entropy"] == 1


def test_assignments_beyond_the_clusters_are_refused():
    with pytest.raises(ValueError, match="up to 3 for 3 clusters"):
        size_statistics(np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="0 assignments"):
        size_statistics(np.array([], int), 3)
