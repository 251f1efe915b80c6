"""The usual PyTorch input pipeline: Pillow in the workers of a DataLoader.

Written without torchvision, whose transforms it follows. Workers load this module alone, and with
it neither TensorFlow nor the rest of the program.
"""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

SIDE = 224
RESIZED = 256


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


def normalized(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """ToTensor and Normalize: float32 (3, 224, 224)."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
    return planes.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


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
    batch_size: int,
) -> torch.utils.data.DataLoader:
    """Batches from two worker processes that stay for all epochs."""
    return torch.utils.data.DataLoader(
        Photographs(paths, crop, finish),
        batch_size=batch_size,
        num_workers=2,
        persistent_workers=True,
        # A fork of a process in which TensorFlow's threads run can hang.
        multiprocessing_context="spawn",
    )
