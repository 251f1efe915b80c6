"""Images in tracks, as videos and bursts have them: shifted, brightened and re-encoded copies.

    python -m benchmarks.learning.tracks --images=cifar10/train --out=TRACKS
    python train.py --preset=small_images --data_dir=TRACKS --run_dir=RUN
    python evaluate.py --run_dir=RUN --test_dir=cifar10/test

Of 10,000 images in tracks of ten, 1,000 are really different. To tell an image from all others then
pushes the images of a track apart, which clusters should prevent.
"""

import argparse
import io
import pathlib

import numpy as np
from PIL import Image

from dc_keras.seeds import numpy_rng

# Pixels that a copy is shifted by each way, part of the brightness it loses or gains, JPEG quality.
_SHIFT, _BRIGHTNESS, _QUALITY = 3, 0.15, (40, 90)
_IMAGES = (".jpg", ".jpeg", ".png")


def make_tracks(
    images: pathlib.Path, out: pathlib.Path, originals: int, copies: int, *, seed: int = 31
) -> int:
    """Writes a folder with tracks of some images, class by class.

    Args:
        images: Folder of class folders.
        out: Folder to write; it must not be there. TRACK-COPY.jpg in folders of the same classes.
        originals: Different images, as many of each class as of any other.
        copies: Images of a track.
        seed: Draws the images and their changes.

    Returns:
        Images that were written.
    """
    classes = sorted(path for path in images.iterdir() if path.is_dir())
    out.mkdir(parents=True)
    written = 0
    for folder in classes:
        (out / folder.name).mkdir()
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
        rng = numpy_rng(seed, f"tracks {folder.name}")
        chosen = rng.permutation(len(paths))[: originals // len(classes)]
        for track, index in enumerate(chosen):
            with Image.open(paths[index]) as image:
                pixels = np.asarray(image.convert("RGB"))
            for copy in range(copies):
                target = out / folder.name / f"{track:04d}-{copy:02d}.jpg"
                target.write_bytes(changed(pixels, rng))
                written += 1
    return written


def changed(pixels: np.ndarray, rng: np.random.Generator) -> bytes:
    """A JPEG file of an image that is shifted and brighter or darker; edges are mirrored.

    Args:
        pixels: uint8 `(h, w, 3)`, at least 4 pixels each way.
        rng: Draws the change.
    """
    height, width = pixels.shape[:2]
    wide = np.pad(pixels, ((_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * _SHIFT + 1, 2)
    moved = wide[top : top + height, left : left + width]
    factor = 1 + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    bright = np.clip(np.round(moved * factor), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(bright).save(file, "JPEG", quality=int(rng.integers(*_QUALITY, endpoint=True)))
    return file.getvalue()


def main() -> None:
    """Reads the flags and writes the images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=pathlib.Path, required=True, help="Class folders.")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="A new folder.")
    parser.add_argument("--originals", type=int, default=1000, help="Different images.")
    parser.add_argument("--copies", type=int, default=10, help="Images of a track.")
    given = parser.parse_args()
    count = make_tracks(given.images, given.out, given.originals, given.copies)
    print(f"{count:,} images in tracks of {given.copies}: {given.out}")


if __name__ == "__main__":
    main()
