"""Sheets that show what the network of a run looks at.

    first_layer         the filters that see the image
    filters_relu5_3     filters of a layer: a picture made for each, nine images
    clusters            clusters: images nearest to the centre, with heat maps

Longer ones go on in first_layer_2 and so on.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.errors import InputError
from dc_keras.exploring.cluster_names import load_names
from dc_keras.exploring.look.first_layer import filter_pictures
from dc_keras.exploring.look.gradient_ascent import (
    colours_of,
    grey_colours,
    preferred_pictures,
)
from dc_keras.exploring.look.heat_maps import cluster_rows, covering_maps, heat_maps, with_heat
from dc_keras.exploring.look.open_network import (
    OpenNetwork,
    check_layer,
    first_convolution,
    last_wide_layer,
    map_shapes,
    open_network,
    sees_gradients,
)
from dc_keras.exploring.look.responses import Responses, live_filters, respond, top_images
from dc_keras.exploring.look.sheets import (
    Block,
    Layout,
    Sheet,
    above,
    beside,
    framed,
    resized,
    sheets_of,
)
from dc_keras.exploring.run_images import RunImages, final_clusters, open_run_images
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import TrainedModel, load_model
from dc_keras.seeds import numpy_rng

_FRAME = (250, 200, 0)
# Maps of fewer cells in a row tell little of where.
_HEAT_SIDE = 7
_TOP, _MEMBERS = 9, 6
# Sides of pictures on the sheets, in pixels: a weight, a filter's picture, a member of a cluster.
_KERNEL, _CELL, _MEMBER = 60, 64, 96


@dataclasses.dataclass(frozen=True)
class LookOptions:
    """What is shown.

    Attributes:
        layer: Whose filters; empty: the last one that has maps.
        filters: How many of them.
        clusters: How many clusters.
        max_images: How many images are looked at.
        batch_size: Images in a step of the network.
    """

    layer: str = ""
    filters: int = 16
    clusters: int = 12
    max_images: int = 20_000
    batch_size: int = 256


def look_sheets(
    run: RunDirectory, options: LookOptions | None = None, *, progress: bool = False
) -> list[Sheet]:
    """Draws what the network of a run looks at; nothing is written.

    Args:
        run: A finished run with a network.
        options: What is shown; default: `LookOptions()`.
        progress: Whether to show progress bars, with the time left.

    Returns:
        The sheets, in the order in which they are best read: first layer, filters, clusters.

    Raises:
        InputError: If the run is not finished or has no network, the network no convolutions or no
            such layer, or none of the images can be read.
    """
    options = options or LookOptions()
    model = load_model(run)
    network = model.known_network()
    shapes = map_shapes(network)
    layer = check_layer(options.layer, shapes)
    looked = _look(run, model, layer, options, progress)
    final = final_clusters(run)
    names = load_names(run) or ("",) * final.num_clusters
    sizes = np.bincount(final.clusters, minlength=final.num_clusters)
    clusters = final.clusters[looked.images.indices[looked.seen.rows]]
    return [
        *_first_layer(network),
        *_filters(looked, layer, shapes[layer], options.filters),
        *_clusters(
            looked,
            last_wide_layer(shapes, _HEAT_SIDE),
            clusters,
            _captions(sizes, clusters, names, options.clusters),
        ),
    ]


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What the sheets are drawn from."""

    model: TrainedModel
    images: RunImages
    seen: Responses
    seed: int
    progress: bool

    def crops(self, rows: np.ndarray) -> np.ndarray:
        """Some of the images that were seen, uint8 `(n, s, s, 3)`."""
        size = self.model.known_network().input_shape[1]
        batches = ordered_batches(self.images.source, rows, image_size=size, batch_size=64)
        return np.concatenate(list(batches.as_numpy_iterator()))


def _look(
    run: RunDirectory, model: TrainedModel, layer: str, options: LookOptions, progress: bool
) -> _Looked:
    """Passes the images of a run, or some of them, through its network."""
    images, config = open_run_images(run), run.config()
    rows = np.arange(len(images.source))
    if len(rows) > options.max_images:
        drawn = numpy_rng(config.seed, "look images").permutation(len(rows))
        rows = np.sort(drawn[: options.max_images])
    seen = respond(
        open_network(model.known_network(), [layer]),
        images.source,
        rows,
        batch_size=options.batch_size,
        progress=progress,
    )
    if not len(seen.rows):
        raise InputError(
            f"None of the images can be read any more. Received: {len(rows):,} of "
            f"{config.data_dir}. Bring them back to where they were."
        )
    return _Looked(model, images, seen, config.seed, progress)


def _first_layer(network: keras.Model) -> list[Sheet]:
    kernel, behind_sobel = first_convolution(network)
    pictures = filter_pictures(kernel, behind_sobel=behind_sobel)
    note = "Middle grey is zero; black or white is the largest weight of each filter, by size."
    if behind_sobel:
        note += (
            " Each filter has two inputs: the image's change from left to right (first picture) "
            "and from top to bottom (second). The third is what both make of grey pixels."
        )
    blocks = [
        Block(beside([resized(one, _KERNEL, sharp=True) for one in each]), f"{number}")
        for number, each in enumerate(pictures)
    ]
    title = f"The {len(blocks)} filters of the first layer"
    return sheets_of("first_layer", title, note, blocks, Layout(6 if behind_sobel else 12, 96))


def _filters(looked: _Looked, layer: str, shape: tuple[int, int, int], count: int) -> list[Sheet]:
    """Filters of a layer: what was drawn for them, and the images that they respond to most."""
    network, strongest = looked.model.known_network(), looked.seen.strongest
    shown, dead = live_filters(strongest, count)
    if not len(shown):
        raise InputError(
            f"No filter of the layer responds to any image. Received: {layer}, which has "
            f"{dead} filters. Choose another --layer; if all are so, the network has collapsed."
        )
    top = top_images(strongest[:, shown], _TOP)
    rows, place_of = np.unique(top, return_inverse=True)
    crops = looked.crops(looked.seen.rows[rows])
    place_of = place_of.reshape(top.shape)
    colours = grey_colours() if sees_gradients(network) else colours_of(crops)
    drawn = preferred_pictures(
        open_network(network, [layer], rectified=False),
        shown.tolist(),
        colours,
        seed=looked.seed,
        progress=looked.progress,
    )
    blocks = []
    for number, one in enumerate(shown):
        cells = [
            _marked(crops[place], looked.seen.places[row, one], shape)
            for place, row in zip(place_of[number], top[number], strict=True)
        ]
        cells += [np.full_like(cells[0], 255)] * (_TOP - len(cells))
        nine = above([beside(cells[start : start + 3]) for start in range(0, _TOP, 3)])
        picture = beside([resized(drawn.pictures[number], nine.shape[0]), nine], gap=6)
        part = (strongest[:, one] > 0).mean()
        blocks.append(Block(picture, f"filter {one}: responds to {part:.0%} of the images"))
    note = (
        "Left: a picture made by gradient ascent, to which the filter responds strongly all over. "
        f"Right: the {_TOP} of {len(looked.seen.rows):,} images to which it responds most, "
        "strongest first; the frame marks the place. "
        f"{len(shown)} of {shape[2]} filters, evenly spaced; {dead} respond to no image."
    )
    title = f"What filters of {layer} look for"
    return sheets_of(f"filters_{layer}", title, note, blocks, Layout(3, 24))


def _marked(crop: np.ndarray, place: int, shape: tuple[int, int, int]) -> np.ndarray:
    """A small picture of an image with a frame around a cell of its map."""
    height, width, _ = shape
    row, column = divmod(int(place), width)
    box = (
        column * _CELL // width,
        row * _CELL // height,
        max((column + 1) * _CELL // width - 1, column * _CELL // width + 3),
        max((row + 1) * _CELL // height - 1, row * _CELL // height + 3),
    )
    return framed(resized(crop, _CELL), box, _FRAME)


def _captions(
    sizes: np.ndarray, seen: np.ndarray, names: Sequence[str], count: int
) -> dict[int, str]:
    """The clusters to show, the largest first, with what is written below each."""
    among = np.flatnonzero(np.bincount(seen, minlength=len(sizes)))
    largest = among[np.argsort(-sizes[among], kind="stable")][:count]
    return {
        int(one): f"cluster {one}{f', {names[one]}' if names[one] else ''}: {sizes[one]:,} "
        + ("image" if sizes[one] == 1 else "images")
        for one in largest
    }


def _clusters(
    looked: _Looked, layer: str, clusters: np.ndarray, captions: dict[int, str]
) -> list[Sheet]:
    """Clusters: the images nearest to their centres, with what puts them there."""
    model = looked.model
    opened = open_network(model.known_network(), [layer])
    shape = opened.model.output_shape[0][1:]
    directions = cluster_rows(model.whitening, model.centroids)
    blocks = []
    bar = tqdm(captions.items(), desc="Heat maps", unit="cluster", disable=not looked.progress)
    for cluster, caption in bar:
        members = np.flatnonzero(clusters == cluster)
        nearest = members[_by_distance(model, looked.seen.features[members], cluster)[:_MEMBERS]]
        crops = looked.crops(looked.seen.rows[nearest])
        # Filled up, so that TensorFlow takes no new shape for a cluster of few images.
        filled = np.concatenate([crops, np.zeros_like(crops[:1]).repeat(_MEMBERS - len(crops), 0)])
        heat = heat_maps(opened, filled, directions[[cluster] * _MEMBERS])
        measured = covering_maps(crops, _likeness(model, opened, cluster))
        shown = [
            _member(resized(crop, _MEMBER), two)
            for crop, *two in zip(crops, heat[: len(crops)], measured, strict=True)
        ]
        shown += [np.full_like(shown[0], 255)] * (_MEMBERS - len(shown))
        blocks.append(Block(beside(shown), caption))
    note = (
        "Images nearest to the cluster's centre, nearest first. Below each, where the network sees "
        "what puts it there, from dark for nothing to yellow for the most in that image: first by "
        f"gradients ({layer}, {shape[0]} x {shape[1]} cells), then by covering parts of the image, "
        "yellow where that takes it farthest from the centre. Trust what both show. The largest "
        "clusters first."
    )
    title = f"What the network sees in {len(blocks)} of {len(model.centroids):,} clusters"
    return sheets_of("clusters", title, note, blocks, Layout(2, 16))


def _likeness(
    model: TrainedModel, network: OpenNetwork, cluster: int
) -> Callable[[np.ndarray], np.ndarray]:
    """From images to the product of their descriptors and a cluster's centroid."""

    def of(images: np.ndarray) -> np.ndarray:
        _, features = network.model(network.normalized(images), training=False)
        descriptors = model.whitening.apply(tf.cast(features, tf.float32).numpy())
        return descriptors @ model.centroids[cluster]

    return of


def _member(image: np.ndarray, maps: Sequence[np.ndarray]) -> np.ndarray:
    """An image above its heat maps."""
    return above([image, *(with_heat(image, heat) for heat in maps)])


def _by_distance(model: TrainedModel, features: np.ndarray, cluster: int) -> np.ndarray:
    """Rows of features, those nearest to a cluster's centroid first, of equal ones the first."""
    apart = model.whitening.apply(features) - model.centroids[cluster]
    return np.argsort(np.einsum("ij,ij->i", apart, apart), kind="stable")
