"""Descriptors for TensorBoard's page "Projector": a cloud of thumbnails that can be turned.

RUN/tensorboard/projector_config.pbtxt      which files there are
projector/                  descriptors.tsv, images.tsv, thumbnails.png
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.pixels.grid import grid
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.files import write_atomically

# What the page shows at once without becoming slow.
PROJECTED_IMAGES = 2000
THUMBNAIL = 48


def sample(num_images: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the images to show, int64 `(m,)`, in their order."""
    return np.sort(rng.permutation(num_images)[:PROJECTED_IMAGES])


def write_projector(
    folder: str | os.PathLike,
    descriptors: np.ndarray,
    thumbnails: np.ndarray,
    columns: dict[str, Sequence],
) -> None:
    """Writes what the page reads.

    Args:
        folder: TensorBoard's of the run.
        descriptors: float32 `(m, dim)`.
        thumbnails: uint8 `(m, t, t, 3)`.
        columns: Values of the images by name, m each, such as path and cluster.
    """
    files = pathlib.Path(folder) / "projector"
    files.mkdir(parents=True, exist_ok=True)
    with write_atomically(files / "descriptors.tsv") as file:
        np.savetxt(file, descriptors, "%.4g", delimiter="\t")
    with write_atomically(files / "images.tsv") as file:
        for row in (columns, *zip(*columns.values(), strict=True)):
            file.write("\t".join(map(_in_one_line, row)) + "\n")
    with write_atomically(files / "thumbnails.png", "wb") as file:
        file.write(tf.io.encode_png(sprites(thumbnails)).numpy())
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "descriptors at the end"
    embedding.tensor_path = "projector/descriptors.tsv"
    embedding.metadata_path = "projector/images.tsv"
    embedding.sprite.image_path = "projector/thumbnails.png"
    embedding.sprite.single_image_dim.extend([thumbnails.shape[2], thumbnails.shape[1]])
    with write_atomically(pathlib.Path(folder) / "projector_config.pbtxt") as file:
        file.write(str(config))


def _in_one_line(value) -> str:
    # The page knows no quotes, and takes UTF-8 alone.
    return " ".join(str(value).encode(errors="replace").decode().split())


def thumbnails_of(
    source: ImageSource, indices: np.ndarray, *, image_size: int, batch_size: int
) -> np.ndarray:
    """Small pictures of some images as the network sees them, uint8 `(m, t, t, 3)`."""
    crops = ordered_batches(source, indices, image_size=image_size, batch_size=batch_size)
    shrunk = crops.map(lambda images: tf.image.resize(images, [THUMBNAIL] * 2, "area"))
    return np.concatenate([np.rint(batch).astype(np.uint8) for batch in shrunk.as_numpy_iterator()])


def sprites(thumbnails: np.ndarray) -> np.ndarray:
    """Lays thumbnails out in a square, row after row, as the page expects.

    Args:
        thumbnails: uint8 `(m, t, t, 3)`.

    Returns:
        uint8 `(s * t, s * t, 3)`, s being the root of m, rounded up; empty places are white.

    >>> sprites(np.zeros([5, 8, 8, 3], np.uint8)).shape
    (24, 24, 3)
    """
    side = int(np.ceil(np.sqrt(len(thumbnails))))
    return grid(thumbnails, side, rows=side)
