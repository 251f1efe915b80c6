"""Draws clusters of a run as a picture: one cluster a row, the images nearest to its centre first.

    python tools/draw_clusters.py RUN OUT.png [--clusters=10] [--images=24]

Clusters are taken evenly from the largest to the smallest that fills a row.
"""

import argparse

import numpy as np
from PIL import Image

from dc_keras.assembly import pixel_options
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.open import open_source
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model
from dc_keras.serving.cluster_ids import assign
from dc_keras.training.monitoring import tile


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("out")
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--images", type=int, default=24)
    options = parser.parse_args()
    run = RunDirectory(options.run)
    settings = run.config()
    source = open_source(settings.data_dir, options=pixel_options(settings))
    found = list(assign(load_model(run), source, settings.batch_size))
    clusters, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    numbers, sizes = np.unique(clusters, return_counts=True)
    by_size = numbers[np.argsort(-sizes, kind="stable")][: (sizes >= options.images).sum()]
    picks = np.linspace(0, len(by_size) - 1, min(options.clusters, len(by_size))).astype(int)
    rows = []
    for number in by_size[picks]:
        members = np.flatnonzero(clusters == number)
        nearest = members[np.argsort(distances[members], kind="stable")][: options.images]
        crops = ordered_batches(
            source, nearest, image_size=settings.image_size, batch_size=options.images
        )
        rows.append(next(crops.as_numpy_iterator()))
    # Thumbnails of small images are enlarged for TensorBoard; here that is too much.
    picture = Image.fromarray(tile(np.concatenate(rows), options.images)[::2, ::2])
    picture.quantize(64).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
