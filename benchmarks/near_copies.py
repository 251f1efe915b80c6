"""Near copies that a run of one's own finds among images that it was trained on.

    python -m benchmarks.near_copies make --images=FOLDER --out=COPIES
    python train.py --data_dir=COPIES --run_dir=RUN ...
    python -m benchmarks.near_copies measure --run_dir=RUN

The first copies images and adds changed copies of some of them, named after what was changed; the
second compares what `dc-keras duplicates` finds with these names. Pairs of two different originals
count against the precision, though a data set may hold copies of its own: they are listed, to be
looked at.
"""

import argparse
import csv
import itertools
import pathlib
import shutil
import sys

import numpy as np
from PIL import Image, ImageEnhance

from dc_keras.exploring.duplicates import NEAR_BITS, NEAR_CORRELATION, NEAR_DISTANCE, NearOptions
from dc_keras.exploring.exploration import explore
from dc_keras.seeds import numpy_rng

CHANGES = {
    "reencoded": lambda image: image,
    "resized": lambda image: _resized(image, 0.7),
    "cropped": lambda image: _cut(image, 0.025, 0.025),
    "corner": lambda image: _cut(image, 0.05, 0.0),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}
_QUALITY = {"reencoded": 50}
_MARK = "__"


def _resized(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.size
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _cut(image: Image.Image, left: float, right: float) -> Image.Image:
    """Without a part of the side at the left and top, and at the right and bottom."""
    width, height = image.size
    return image.crop(
        (
            round(left * width),
            round(left * height),
            width - round(right * width),
            height - round(right * height),
        )
    )


def make(images: pathlib.Path, out: pathlib.Path, originals: int, changed: int) -> None:
    """Writes a folder of originals, and of changed copies of some of them."""
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    rng = numpy_rng(31, "near copies")
    chosen = rng.permutation(len(paths))[:originals]
    out.mkdir(parents=True)
    for number, index in enumerate(chosen):
        stem = f"{number:06d}"
        shutil.copyfile(paths[index], out / f"{stem}{_MARK}original{paths[index].suffix}")
        if number >= changed:
            continue
        with Image.open(paths[index]) as image:
            image = image.convert("RGB")
            for name, change in CHANGES.items():
                quality = _QUALITY.get(name, 90)
                change(image).save(out / f"{stem}{_MARK}{name}.jpg", quality=quality)


def measure(run_dir: str, near: NearOptions) -> list[dict[str, object]]:
    """Recall of each change, and precision over all pairs within groups."""
    found = explore(run_dir, near).found
    stems = [path.partition(_MARK) for path in found.paths]
    keys = [(stem, change.partition(".")[0]) for stem, _, change in stems]
    group_of = dict(zip(keys, found.duplicate_groups.tolist(), strict=True))
    rows: list[dict[str, object]] = []
    settings = vars(near)
    for name in CHANGES:
        copies = [key for key in group_of if key[1] == name]
        hits = sum(
            group_of[key] >= 0 and group_of[key] == group_of[key[0], "original"] for key in copies
        )
        rows.append(
            {"what": f"recall {name}", "value": hits / len(copies), "of": len(copies), **settings}
        )
    true = false = 0
    for group in range(found.duplicate_groups.max() + 1):
        members = np.flatnonzero(found.duplicate_groups == group)
        for i, j in itertools.combinations(members, 2):
            same = stems[i][0] == stems[j][0]
            true, false = true + same, false + (not same)
            if not same:
                print("other originals:", found.paths[i], found.paths[j], file=sys.stderr)
    rows.append(
        {
            "what": "precision of pairs",
            "value": true / max(true + false, 1),
            "of": true + false,
            **settings,
        }
    )
    return rows


def main() -> None:
    """Makes or measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("make", "measure"))
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--originals", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=200)
    parser.add_argument("--run_dir")
    parser.add_argument("--distance", type=float, nargs="+", default=[NEAR_DISTANCE])
    parser.add_argument("--bits", type=int, nargs="+", default=[NEAR_BITS])
    parser.add_argument("--correlation", type=float, nargs="+", default=[NEAR_CORRELATION])
    given = parser.parse_args()
    if given.what == "make":
        make(given.images, given.out, given.originals, given.changed)
        return
    rows = [
        row
        for settings in itertools.product(given.distance, given.bits, given.correlation)
        for row in measure(given.run_dir, NearOptions(*settings))
    ]
    writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
