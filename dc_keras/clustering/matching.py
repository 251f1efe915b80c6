"""Which new cluster continues which old one: numbers that last from one clustering to the next.

K-means numbers its clusters anew each time. For people, clusters are matched one to one with those
before so that as many images as possible stay under their number: the same cluster then has the
same number in logs, mosaics and files. What the network learns does not depend on it.
"""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching


def match_clusters(previous: np.ndarray, current: np.ndarray, num_clusters: int) -> np.ndarray:
    """Finds the one-to-one matching of clusters that keeps the most images under their number.

    Args:
        previous: Old cluster of each image, integers `(n,)` in [0, num_clusters).
        current: New cluster of each image, likewise.
        num_clusters: Number of clusters `k` in both.

    Returns:
        The old number that each new cluster takes over, a permutation, int32 `(k,)`. A new cluster
        that shares no image with an old one, or found all of those taken, gets a number that is
        left over.

    >>> match_clusters(np.array([0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 1]), 2)
    array([1, 0], dtype=int32)

    Reference:
        Assignment problem on the table of common images, which is sparse: at most n of its k * k
        cells count. For 1,281,167 images in 10,000 clusters it takes seconds; the table in full
        would take 800 MB.
    """
    ones = np.ones(len(previous), np.int64)
    common = scipy.sparse.csr_array((ones, (current, previous)), shape=(num_clusters, num_clusters))
    common.sum_duplicates()
    # Every new cluster may also take a column of its own, at the cost of no image in common, so
    # that a full matching always exists. Costs are positive: explicit zeros would be dropped.
    free = common.data.max() + 1.0
    cost = common.astype(np.float64)
    cost.data = free - cost.data
    alone = scipy.sparse.dia_array(
        (np.full((1, num_clusters), free), [0]), shape=(num_clusters, num_clusters)
    )
    rows, columns = min_weight_full_bipartite_matching(scipy.sparse.hstack([cost, alone], "csr"))
    numbers = np.empty(num_clusters, np.int32)
    matched = columns < num_clusters
    numbers[rows[matched]] = columns[matched]
    numbers[rows[~matched]] = np.setdiff1d(np.arange(num_clusters), columns[matched])
    return numbers


def numbers_that_last(
    previous: np.ndarray, current: np.ndarray, num_clusters: int
) -> tuple[np.ndarray, float]:
    """Numbers new clusters after the old ones that they continue, and tells how much has changed.

    Args:
        previous: Old number of each image's cluster, integers `(n,)`.
        current: New cluster of each image, integers `(n,)` in [0, num_clusters).
        num_clusters: Number of new clusters `k`. There may have been fewer or more before.

    Returns:
        The number of each new cluster, a permutation, int32 `(k,)`; and the churn, the fraction of
        images that changed their cluster: from 0 (equal up to numbering) to nearly 1.

    >>> numbers, churn = numbers_that_last(np.array([0, 0, 0, 1]), np.array([1, 1, 0, 0]), 2)
    >>> numbers.tolist(), churn
    ([1, 0], 0.25)
    """
    count = max(num_clusters, int(previous.max()) + 1)
    numbers = match_clusters(previous, current, count)
    churn = float((numbers[current] != previous).mean())
    # Where there were more clusters before, numbers close up, in the same order.
    closed_up = np.argsort(np.argsort(numbers[:num_clusters])).astype(np.int32)
    return closed_up, churn
