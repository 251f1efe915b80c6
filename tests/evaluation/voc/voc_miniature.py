"""A miniature VOCdevkit: coloured shapes of three classes on grey, some images of two classes."""

import pathlib

import numpy as np
from PIL import Image

COLOURS = {"ball": (220, 40, 40), "leaf": (40, 200, 60), "pond": (40, 60, 220)}
SIZES = {"train": 8, "val": 8, "test": 12}


def write_devkit(folder, sizes=SIZES, year="VOC2007", seed=3) -> pathlib.Path:
    """Writes VOCdevkit/YEAR with lists, files of classes, annotations and JPEGs; returns YEAR.

    Of each class about half of the images show it; a shape is difficult now and then, and then
    small.
    """
    rng = np.random.default_rng(seed)
    root = pathlib.Path(folder, "VOCdevkit", year)
    for name in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (root / name).mkdir(parents=True)
    marks, numbers = {}, iter(range(1, 10_000))
    for split, size in sizes.items():
        marks[split] = {f"{next(numbers):06d}": _marks(rng, i) for i in range(size)}
    for split in list(marks):
        for name, labels in marks[split].items():
            _write_image(root, name, labels, rng)
    if "train" in marks and "val" in marks:
        marks["trainval"] = marks["train"] | marks["val"]
    for split, labels in marks.items():
        _write_lists(root, split, labels)
    return root


def _marks(rng, number) -> list[int]:
    labels = [-1, -1, -1]
    labels[number % 3] = 1
    other = (number + 1) % 3
    labels[other] = int(rng.choice([-1, 1, 0], p=[0.6, 0.25, 0.15]))
    return labels


def _write_lists(root, split, labels):
    sets = root / "ImageSets/Main"
    (sets / f"{split}.txt").write_text("".join(f"{name}\n" for name in labels))
    for column, one in enumerate(COLOURS):
        lines = [f"{name} {marks[column]:2d}\n" for name, marks in labels.items()]
        (sets / f"{one}_{split}.txt").write_text("".join(lines))


def _write_image(root, name, labels, rng):
    height, width = rng.integers(48, 72, 2)
    pixels = np.full((height, width, 3), 128) + rng.integers(-20, 20, (height, width, 3))
    shown = [(one, mark) for one, mark in zip(COLOURS, labels, strict=True) if mark >= 0]
    objects = []
    for place, (one, mark) in enumerate(shown):
        # Stripes, so that most random squares have a part of each.
        step = 4 * len(shown) if mark else 24
        for begin in range(4 * place, width, step):
            pixels[:, begin : begin + (4 if mark else 1)] = COLOURS[one]
        objects.append(
            f"<object><name>{one}</name><difficult>{int(mark == 0)}</difficult></object>"
        )
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    image.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    text = f"<annotation>{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)
