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
# Shorter side of an image before its centre is cut out, as a multiple of the crop's.
RESIZED = 256 / 224
# Of ImageNet's pixels in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Photographs(torch.utils.data.Dataset):
    """Files, opened and cropped.

    Args:
        paths: The files.
        crop: From an RGB image to a square one.
        finish: From its pixels, uint8 (side, side, 3), to what is put into batches.
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
    """ToTensor and Normalize: float32 (3, side, side)."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
    return planes.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


def random_crop(image: Image.Image, side: int = SIDE) -> Image.Image:
    """RandomResizedCrop and RandomHorizontalFlip."""
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
    crop = image.crop((x, y, x + w, y + h)).resize((side, side), Image.Resampling.BILINEAR)
    flip = random.random() < 0.5
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


def central_crop(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Resize and CenterCrop; of an image that is no larger than the crop, nothing is cut off."""
    width, height = image.size
    shorter = min(width, height)
    resized = round(side * RESIZED) if shorter > side else side
    width, height = width * resized // shorter, height * resized // shorter
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    x, y = round((width - side) / 2), round((height - side) / 2)
    return image.crop((x, y, x + side, y + side))


def loader(
    images: Photographs, batch_size: int, order: Sequence[int] | None = None
) -> torch.utils.data.DataLoader:
    """Batches from two worker processes that stay for all epochs.

    Args:
        images: What they read.
        batch_size: Images in a batch; the last may be smaller.
        order: Images of an epoch, looked at when it begins; None for all of them once.
    """
    return torch.utils.data.DataLoader(
        images,
        batch_size=batch_size,
        sampler=order,
        num_workers=2,
        persistent_workers=True,
        # A fork of a process in which TensorFlow's threads run can hang.
        multiprocessing_context="spawn",
    )
