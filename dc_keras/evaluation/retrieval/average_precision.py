"""Average precision of a ranking, as the program of the Oxford buildings computes it.

Junk (images that show too little of the thing to count for or against) is taken out of the ranking
first, as if it had not been among the images.
"""

import numpy as np

# Numbers of best images whose precision is told beside it, for the revisited ground truths.
KAPPAS = (1, 5, 10)


def ranks_of_relevant(order: np.ndarray, relevant: np.ndarray, junk: np.ndarray) -> np.ndarray:
    """Where the relevant images are in a ranking without its junk.

    Args:
        order: Images, best first, integers `(n,)`.
        relevant: Which images are relevant, boolean, by image.
        junk: Which are junk, boolean, by image; what is both is junk.

    Returns:
        Ranks from 0 on, ascending, int64.

    >>> relevant, junk = np.zeros(5, bool), np.zeros(5, bool)
    >>> relevant[[3, 1]], junk[0] = True, True
    >>> ranks_of_relevant(np.array([3, 0, 2, 1, 4]), relevant, junk)
    array([0, 2])
    """
    return np.flatnonzero(relevant[order[~junk[order]]])


def average_precision(ranks: np.ndarray, num_relevant: int) -> float:
    """The area under the line through the points of precision and recall: trapezoids.

    Before the first image, precision counts as 1. It is a little less than the average precision
    that is usual elsewhere, which adds up rectangles.

    Args:
        ranks: Of the relevant images that were found, from 0 on, ascending, integers `(m,)`.
        num_relevant: How many relevant images there are, m or more: those that are not among the
            images that are searched count as never found.

    Returns:
        In [0, 1].

    >>> average_precision(np.array([0, 2]), num_relevant=2)  # (1 + (1/2 + 2/3) / 2) / 2
    0.7916666666666666

    Reference:
        Philbin et al. 2007, "Object retrieval with large vocabularies and fast spatial matching",
        section 3, and the program `compute_ap` beside their ground truth.
    """
    before = np.arange(len(ranks))
    # Precision just above each relevant image and just behind it.
    above = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
    behind = (before + 1) / (ranks + 1)
    return float(((above + behind) / 2).sum() / num_relevant)


def precision_at(ranks: np.ndarray, kappa: int) -> float:
    """The part of the best images that is relevant.

    Where the last relevant image has a better rank than kappa, the images up to that one count, so
    that few relevant images can reach 1, too.

    Args:
        ranks: Of the relevant images, from 0 on, ascending, integers `(m,)`.
        kappa: How many of the best images.

    Returns:
        In [0, 1]; 0 if no relevant image was found.

    >>> precision_at(np.array([0, 2]), 1), precision_at(np.array([0, 3]), 10)
    (1.0, 0.5)

    Reference:
        Radenovic et al. 2018, "Revisiting Oxford and Paris", and the program beside its ground
        truth, which limits kappa by the rank of the last relevant image.
    """
    if not len(ranks):
        return 0.0
    counted = min(kappa, int(ranks[-1]) + 1)
    return float((ranks < counted).sum() / counted)
