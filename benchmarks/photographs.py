"""Comparison of a pipeline of ours with the usual PyTorch one on a folder of photographs.

The public code's workers go on to normalised floats. Ours leave that to the network, where it costs
next to nothing, so workers that stop at uint8 are compared as well: the best that can be had of
them.
"""

import argparse
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import torch
from PIL import Image

from benchmarks.interleaved import data_set, rates
from benchmarks.pillow_loader import Photographs, loader, normalized
from benchmarks.rows import Subject, report_speed
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.open import open_source

BATCH = 64
PUBLIC = "Pillow and DataLoader, as the public code"
STOPPED = "Pillow and DataLoader, to uint8 alone"


def compare(
    options: argparse.Namespace,
    what: str,
    ours: Callable[[ImageSource, np.ndarray], tf.data.Dataset],
    crop: Callable[[Image.Image], Image.Image],
    *,
    goal: float,
) -> None:
    """Compares two pipelines on a folder of photographs, if it is there.

    Args:
        options: What `arguments` returned.
        what: The crops.
        ours: From the photographs and the indices to read, a whole number of batches of them, to
            batches whose elements are images or begin with them.
        crop: What the other pipeline does.
        goal: How many times faster ours shall be.
    """
    folder = data_set(options, "photos")
    if folder is None:
        return
    source = open_source(str(folder))
    # As in an epoch of more than a thousand, where making the iterator counts for little.
    indices = np.tile(np.arange(len(source)), 1 if options.quick else 10)
    indices = indices[: len(indices) // BATCH * BATCH]
    batches = ours(source, indices)
    paths = [os.path.join(folder, source.names[i]) for i in indices]

    def theirs(finish):
        batches = loader(Photographs(paths, crop, finish), BATCH)
        return lambda: sum(len(images) for images in batches)

    contenders = {
        "ours": lambda: sum(len(tf.nest.flatten(batch)[0]) for batch in batches),
        PUBLIC: theirs(normalized),
        STOPPED: theirs(torch.from_numpy),
    }
    rates(contenders, 1)
    report_speed(
        options,
        Subject(what, f"{len(source)} photographs", ["tensorflow", "pillow", "torch"]),
        rates(contenders, options.turns),
        "images/s",
        goals={PUBLIC: goal, STOPPED: goal},
    )
