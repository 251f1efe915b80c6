"""Draws and splits that leave every class its share: pure functions of labels."""

import numpy as np
from sklearn.model_selection import train_test_split

from dc_keras.errors import InputError
from dc_keras.seeds import derive_seed, numpy_rng


def draw(labels: np.ndarray, total: int, at_least: int, seed: int) -> np.ndarray:
    """Draws images at random, of each class in proportion to its size.

    Args:
        labels: Class of each image, integers `(n,)` from 0.
        total: How many images to draw, fewer than n.
        at_least: Images that each class keeps where it has as many: otherwise it keeps all.
        seed: Draws them.

    Returns:
        Indices, ascending, int64 `(total,)`.

    Raises:
        InputError: If so few images cannot be drawn.

    >>> labels = np.repeat([0, 1, 2], [60, 30, 6])
    >>> np.bincount(labels[draw(labels, total=24, at_least=2, seed=31)])
    array([15,  7,  2])
    """
    sizes = np.bincount(labels)
    fewest = np.minimum(sizes, at_least)
    if fewest.sum() > total:
        raise InputError(
            f"So few images would leave classes out. Received: --max_images={total} for "
            f"{np.count_nonzero(sizes)} classes. Expected at least {fewest.sum()}."
        )
    share = sizes * total / len(labels)
    counts = np.maximum(fewest, np.floor(share).astype(int))
    while counts.sum() != total:
        step = 1 if counts.sum() < total else -1
        may_change = counts < sizes if step > 0 else counts > fewest
        gap = np.where(may_change, step * (share - counts), -np.inf)
        counts[np.argmax(gap)] += step
    shuffled = numpy_rng(seed, "evaluation images").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[rank < np.repeat(counts, sizes)])


def split(labels: np.ndarray, test_fraction: float, seed: int) -> np.ndarray:
    """Splits the images of each class at random.

    Args:
        labels: Class of each image, integers `(n,)` from 0.
        test_fraction: Part of each class to test on, in (0, 1).
        seed: Splits them.

    Returns:
        Boolean mask `(n,)` of the images to test on. A class of two or more images has at least one
        in the mask and one outside; a class of a single image is outside.

    Raises:
        InputError: If no class has two images.

    >>> labels = np.repeat([0, 1, 2], [20, 10, 1])
    >>> np.bincount(labels[split(labels, test_fraction=0.2, seed=31)], minlength=3)
    array([4, 2, 0])
    """
    sizes = np.bincount(labels)
    divisible = np.flatnonzero(sizes[labels] > 1)
    classes = np.count_nonzero(sizes > 1)
    if not classes:
        raise InputError(
            "Every class has a single image, so that none can be split into training and test "
            f"images. Received: {len(labels)} images of {np.count_nonzero(sizes)} classes. Give a "
            "--test_dir, or at least two images of each class."
        )
    wanted = max(round(test_fraction * len(divisible)), classes)
    _, drawn = train_test_split(
        divisible,
        test_size=min(wanted, len(divisible) - classes),
        stratify=labels[divisible],
        random_state=derive_seed(seed, "evaluation split"),
    )
    tested = np.zeros(len(labels), bool)
    tested[drawn] = True
    # Rounding can give a small class to one side as a whole.
    in_test = np.bincount(labels[tested], minlength=len(sizes))
    for label in np.flatnonzero((sizes > 1) & ((in_test == 0) | (in_test == sizes))):
        moved = numpy_rng(seed, "small class", int(label)).choice(np.flatnonzero(labels == label))
        tested[moved] = in_test[label] == 0
    return tested
