"""A miniature of Oxford5k: images of a few things, near copies of each, and its ground truth."""

import pathlib

import numpy as np
from PIL import Image

THINGS, COPIES = 5, 4
HEIGHT, WIDTH = 72, 96


def thing(number: int) -> np.ndarray:
    """Two random gratings, uint8 `(72, 96, 3)`: they look alike wherever they are cut."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = 0.0
    for _ in range(2):
        angle, length = rng.uniform(0, np.pi), rng.uniform(5, 24)
        waves += np.sin(2 * np.pi / length * (np.cos(angle) * x + np.sin(angle) * y))
    return np.repeat((128 + 50 * waves)[..., np.newaxis], 3, axis=2).astype(np.uint8)


def near_copies(image: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The picture cut, brightened, and with noise, uint8."""
    cut = image[4:66, 5:90]
    brighter = np.clip(image * 1.25 + 10, 0, 255).astype(np.uint8)
    noisy = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return [image, cut, brighter, noisy]


def write_images(folder: pathlib.Path, numbers: range = range(THINGS)) -> list[str]:
    """Writes JPEG files thing_NUMBER_COPY.jpg; returns their names without ending."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    names = []
    for number in numbers:
        for copy, image in enumerate(near_copies(thing(number), rng)):
            names.append(f"thing_{number}_{copy}")
            Image.fromarray(image).save(folder / f"{names[-1]}.jpg", quality=90)
    return names


def write_oxford(folder: pathlib.Path) -> None:
    """Writes the four texts of each thing: the first copy asks for the next two, one is junk."""
    folder.mkdir(parents=True)
    for number in range(THINGS):
        stem, name = folder / f"thing_{number}_1", f"thing_{number}"
        texts = {
            "query": f"oxc1_{name}_0 6.5 3.2 80.1 66.0\n",
            "good": f"{name}_1\n",
            "ok": f"{name}_2\n",
            "junk": f"{name}_0\n{name}_3\n",
        }
        for kind, text in texts.items():
            stem.with_name(f"{stem.name}_{kind}.txt").write_text(text)
