"""What samplers draw, as arrays, and what to compare it with."""

import numpy as np

from dc_keras.data.batches.sampler import Sampler
from dc_keras.data.batches.samplers import make_sampler


def begin(name: str, labels, length: int, seed: int = 0, epoch: int = 0) -> Sampler:
    """A sampler at the beginning of an epoch."""
    sampler = make_sampler(name, len(labels), length)
    sampler.set_labels(np.asarray(labels, "int32"))
    sampler.begin_epoch(seed, epoch)
    return sampler


def pairs_of(sampler: Sampler, length: int) -> list[np.ndarray]:
    """What one epoch yields, an array for each component."""
    batches = list(sampler.pairs(length).batch(4096).as_numpy_iterator())
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def draw(name: str, labels, length: int, seed: int = 0, epoch: int = 0) -> list[np.ndarray]:
    """What the epoch of a new sampler yields."""
    return pairs_of(begin(name, labels, length, seed, epoch), length)


def skewed_labels(rng: np.random.Generator) -> np.ndarray:
    """Clusters of 20,000 images: 100 of very different sizes."""
    share = rng.lognormal(0, 1.3, 100)
    return rng.choice(100, 20_000, p=share / share.sum())


def chi_square_per_degree(counts: np.ndarray, expected) -> float:
    """About 1 when counts follow the expected law; above 1.5 is impossible for many cells."""
    return ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)
