"""Seeds: every random decision of a run derives from (seed, purpose, place)."""

import hashlib

import numpy as np


def derive_seed(seed: int, purpose: str, *keys: int) -> int:
    """Derives the seed of one random decision from the run's seed.

    Nothing in the program draws from a shared generator: a decision names its purpose and place
    (epoch, position), so that it comes out the same after a resume and whatever ran before it.

    Args:
        seed: The run's seed.
        purpose: What is drawn, such as "kmeans" or "head".
        *keys: Where it is drawn: epoch, position.

    Returns:
        An integer in [0, 2**31 - 1), which every library here takes as a seed.

    >>> derive_seed(31, "kmeans", 0) == derive_seed(31, "kmeans", 0)
    True
    >>> derive_seed(31, "kmeans", 0) == derive_seed(31, "kmeans", 1)
    False
    """
    text = ":".join([str(int(seed)), purpose, *(str(int(key)) for key in keys)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (2**31 - 1)


def numpy_rng(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """A NumPy generator for one purpose and place; see `derive_seed`.

    >>> numpy_rng(31, "head", 3).normal() == numpy_rng(31, "head", 3).normal()
    True
    """
    return np.random.default_rng(derive_seed(seed, purpose, *keys))
