"""The usual PyTorch input pipeline, and the comparison of ours with it on a folder of photographs.

Pillow in the workers of a DataLoader, without torchvision, whose transforms it follows. The public
code's workers go on to normalised floats. Ours leave that to the network, where it costs next to
nothing, so workers that stop at uint8 are compared as well: the best that can be had of them.
"""

import argparse
import math
import os
import pathlib
import random
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import torch
from PIL import Image

from benchmarks.interleaved import rates, report
from dc_keras.data.image_source import ImageSource
from dc_keras.data.sources import open_source
from dc_keras.models.sobel import PIXEL_MEAN, PIXEL_STD

PHOTOS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "photos"
BATCH = 64
SIDE = 224
RESIZED = 256
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
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
    """Compares two pipelines on the folder $DC_KERAS_PHOTOS or ../shared/data/photos.

    Args:
        options: What `arguments` returned.
        what: The crops.
        ours: From the photographs and the indices to read, a whole number of batches of them, to
            batches whose elements are images or begin with them.
        crop: What the other pipeline does.
        goal: How many times faster ours shall be.
    """
    folder = os.environ.get("DC_KERAS_PHOTOS", str(PHOTOS))
    source = open_source(folder)
    indices = np.tile(np.arange(len(source)), 1 if options.quick else 5)
    indices = indices[: len(indices) // BATCH * BATCH]
    batches = ours(source, indices)
    paths = [os.path.join(folder, source.names[i]) for i in indices]

    def theirs(finish):
        batches = loader(paths, crop, finish)
        return lambda: sum(len(images) for images in batches)

    contenders = {
        "ours": lambda: sum(len(tf.nest.flatten(batch)[0]) for batch in batches),
        PUBLIC: theirs(normalized),
        STOPPED: theirs(torch.from_numpy),
    }
    rates(contenders, 1)
    report(
        options,
        f"{what}, {len(source)} photographs",
        rates(contenders, options.turns),
        "images/s",
        goals={PUBLIC: goal, STOPPED: goal},
        packages=["tensorflow", "pillow", "torch"],
    )


class Photographs(torch.utils.data.Dataset):
    """Files, opened and cropped.

    Args:
        paths: The files.
        crop: From an RGB image to a 224-pixel one.
        finish: From its pixels, uint8 (224, 224, 3), to what is put into batches.
    """

    def __init__(
        self,
        paths: Sequence[str],
        crop: Callable[[Image.Image], Image.Image],
        finish: Callable[[np.ndarray], torch.Tensor],
    ):
        self._paths = list(paths)
        self._crop = crop
        self._finish = finish

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self._paths[index]) as image:
            return self._finish(np.array(self._crop(image.convert("RGB"))))


def normalized(pixels: np.ndarray) -> torch.Tensor:
    """ToTensor and Normalize: float32 (3, 224, 224)."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
    return planes.sub_(MEAN).div_(STD)


def random_crop(image: Image.Image) -> Image.Image:
    """RandomResizedCrop(224) and RandomHorizontalFlip."""
    width, height = image.size
    for _ in range(10):
        area = random.uniform(0.08, 1) * width * height
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    x, y = random.randint(0, width - w), random.randint(0, height - h)
    crop = image.crop((x, y, x + w, y + h)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    flip = random.random() < 0.5
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


def central_crop(image: Image.Image) -> Image.Image:
    """Resize(256) and CenterCrop(224)."""
    width, height = image.size
    shorter = min(width, height)
    width, height = width * RESIZED // shorter, height * RESIZED // shorter
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    x, y = round((width - SIDE) / 2), round((height - SIDE) / 2)
    return image.crop((x, y, x + SIDE, y + SIDE))


def loader(
    paths: Sequence[str],
    crop: Callable[[Image.Image], Image.Image],
    finish: Callable[[np.ndarray], torch.Tensor],
) -> torch.utils.data.DataLoader:
    """Batches from two worker processes that stay for all epochs."""
    return torch.utils.data.DataLoader(
        Photographs(paths, crop, finish),
        batch_size=BATCH,
        num_workers=2,
        persistent_workers=True,
        # A fork of a process in which TensorFlow's threads run can hang.
        multiprocessing_context="spawn",
    )
