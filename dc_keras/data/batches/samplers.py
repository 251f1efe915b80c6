"""The samplers by name.

uniform     every non-empty cluster as often as any other: the published method
natural     every image once a pass; a cluster of size s in proportion to s
reweight    the images of natural, with a loss weighted by the inverse of s
released    what the public code does when it means to draw uniformly
"""

from dc_keras.data.batches.listed import NaturalSampler, ReleasedSampler, ReweightingSampler
from dc_keras.data.batches.sampler import Sampler
from dc_keras.data.batches.uniform import UniformClusterSampler

_LISTING = {
    "natural": NaturalSampler,
    "reweight": ReweightingSampler,
    "released": ReleasedSampler,
}


def make_sampler(name: str, num_images: int, epoch_length: int) -> Sampler:
    """Makes a sampler by its name in `--sampler`.

    Args:
        name: "uniform", "natural", "reweight" or "released".
        num_images: Number of images.
        epoch_length: Number of images in an epoch.

    Returns:
        The sampler, which has no labels yet.

    >>> import numpy as np
    >>> sampler = make_sampler("uniform", num_images=6, epoch_length=4)
    >>> sampler.set_labels(np.array([0, 0, 0, 0, 0, 1]))
    >>> sampler.begin_epoch(seed=31, epoch=0)
    >>> len(list(sampler.pairs(4)))
    4
    """
    if name == "uniform":
        return UniformClusterSampler(num_images)
    return _LISTING[name](num_images, epoch_length)
