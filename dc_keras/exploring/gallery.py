"""A gallery: one folder of static files that a browser opens from the disk, without a server.

    index.html, gallery.css, *.js   the page, the same for all galleries
    gallery.json                    tells that the folder is one, and of which clusters
    data/summary.js                 the clusters in short, which is all that opening takes
    data/clusters-0.js, ...         256 clusters each: borderline images, neighbours, labels
    data/chunk-0.js, ...            2,048 images each: names, distances, nearest images
    data/map.js, order.js, groups.js
    sheets/sheet-0.jpg, ...         1,024 thumbnails each
    sheets/cover-0.jpg, ...         the first eight thumbnails of 128 clusters each

What a page from the disk may not do decided this: `fetch` and modules fail there, so data are
scripts that call a function, loaded when they are needed.

Clusters are shown by size. An image's place is where it stands in this order, in its cluster the
nearest to the centroid first: images of a cluster have places, sheets and chunks in common.
"""

import base64
import dataclasses
import hashlib
import importlib.resources
import json
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dc_keras.errors import InputError
from dc_keras.exploring.found_images import DUPLICATE_KINDS, FoundImages
from dc_keras.exploring.sprite_sheets import CELL, COLUMNS, sprite_sheets
from dc_keras.files import check_output_folder, write_directory_atomically

IMAGES_IN_CHUNK = 2048
CLUSTERS_IN_CHUNK = 256
IMAGES_ON_COVER = 8
# Borderline images and outliers that a cluster shows beside the others.
_SHOWN = 16
_MARKER, _FORMAT = "gallery.json", "dc_keras gallery"

# A file of the gallery: its path below the folder, and what it holds.
File = tuple[str, bytes]


@dataclasses.dataclass(frozen=True)
class GalleryRun:
    """The run of a gallery.

    Attributes:
        title: What the page calls itself.
        link: Where the images are as the page sees it: see `link_to`; empty where they are no
            files.
        identity: Of its clusters: see `gallery_id`.
        rows: The row in the run's manifest of each image that is shown, int `(n,)`.
        num_rows: How many rows that has: images may be gone.
    """

    title: str
    link: str
    identity: str
    rows: np.ndarray
    num_rows: int


@dataclasses.dataclass(frozen=True)
class GalleryOrder:
    """How a gallery orders images and clusters.

    Attributes:
        images: int64 (n,) image at each place.
        places: int32 (n,) place of each image.
        clusters: int64 (k,) clusters by size, the largest first.
        sizes: int64 (k,) their sizes, in that order.
        starts: int64 (k,) place of the first image of each, in that order.
    """

    images: np.ndarray
    places: np.ndarray
    clusters: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray


def gallery_id(paths: Sequence[str], clusters: np.ndarray, num_clusters: int) -> str:
    """Names a clustering: the same for the same images in the same clusters.

    Args:
        paths: n names of the images.
        clusters: int (n,) cluster of each.
        num_clusters: How many there are.

    >>> gallery_id(["a.png"], np.array([0]), 2) == gallery_id(["a.png"], np.array([1]), 2)
    False
    """
    checksum = hashlib.sha256(f"{num_clusters} {len(paths)}\n".encode())
    checksum.update(np.ascontiguousarray(clusters, "<i4").tobytes())
    checksum.update("\0".join(paths).encode("utf-8", "surrogateescape"))
    return checksum.hexdigest()[:32]


def gallery_order(clusters: np.ndarray, distances: np.ndarray, num_clusters: int) -> GalleryOrder:
    """Orders clusters by size and images by their distance.

    Args:
        clusters: int (n,) cluster of each image.
        distances: float (n,) to its centroid.
        num_clusters: How many there are; some may be empty.

    >>> order = gallery_order(np.array([0, 1, 1]), np.array([0.1, 0.3, 0.2]), 2)
    >>> order.clusters.tolist(), order.images.tolist(), order.starts.tolist()
    ([1, 0], [2, 1, 0], [0, 2])
    """
    sizes = np.bincount(clusters, minlength=num_clusters)
    by_size = np.argsort(-sizes, kind="stable")
    rank = np.empty(num_clusters, np.int64)
    rank[by_size] = np.arange(num_clusters)
    images = np.lexsort((distances, rank[clusters]))
    places = np.empty(len(images), np.int32)
    places[images] = np.arange(len(images))
    sizes = sizes[by_size]
    return GalleryOrder(images, places, by_size, sizes, np.cumsum(sizes) - sizes)


def gallery_files(found: FoundImages, thumbnails: np.ndarray, run: GalleryRun) -> Iterator[File]:
    """Makes the files of a gallery, a few megabytes at a time.

    Args:
        found: What is known of the images.
        thumbnails: uint8 `(n, 64, 64, 3)`, of the same images.
        run: Whose images they are.

    Yields:
        Path below the gallery's folder and content.
    """
    order = gallery_order(found.clusters, found.distances, len(found.cluster_neighbours))
    yield from _page()
    yield from _summary(found, order, run)
    yield from _cluster_chunks(found, order)
    yield from _image_chunks(found, order)
    yield from _whole_run(found, order, run.rows)
    for number, sheet in enumerate(sprite_sheets(thumbnails, order.images)):
        yield f"sheets/sheet-{number}.jpg", sheet
    for number, sheet in enumerate(sprite_sheets(thumbnails, _covers(order))):
        yield f"sheets/cover-{number}.jpg", sheet


def write_gallery(out: str | os.PathLike, files: Iterable[File]) -> None:
    """Writes a gallery, or replaces one.

    Args:
        out: Its folder.
        files: Of `gallery_files`.

    Raises:
        InputError: If something else is there, which stays as it is.
    """
    check_gallery_folder(out)
    with write_directory_atomically(out) as folder:
        for name in ("data", "sheets"):
            (folder / name).mkdir()
        for path, content in files:
            (folder / path).write_bytes(content)


def check_gallery_folder(out: str | os.PathLike) -> None:
    """Checks that a gallery may be written somewhere: nothing is there, or a gallery of ours.

    Raises:
        InputError: If not.
    """
    folder = check_output_folder(out)
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        made_here = json.loads((folder / _MARKER).read_bytes())["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        made_here = False
    if not made_here:
        raise InputError(
            f"The output's folder is no gallery and would be lost. Received: --out={out}, which "
            f"has files but no {_MARKER}. Expected a gallery to replace, or a name that is free."
        )


def link_to(root: str, out: str | os.PathLike) -> str:
    """The relative URL of a folder, as a page in another one sees it.

    Args:
        root: The folder; its name may hold any bytes.
        out: The page's folder.

    Returns:
        A URL that ends with a slash, a file: URL where none is relative; empty for no root.

    >>> link_to("/data/my images#1", "/runs/a/gallery")
    '../../../data/my%20images%231/'
    """
    if not root:
        return ""
    root = os.path.realpath(root)
    try:
        relative = os.path.relpath(root, os.path.realpath(out))
    except ValueError:  # Another drive of Windows.
        return pathlib.Path(root).as_uri() + "/"
    return quote_path(relative.replace(os.sep, "/")) + "/"


def quote_path(path: str) -> str:
    r"""A path as a part of a URL: bytes as they are on the disk, whatever they stand for.

    >>> quote_path("50%/a#b?.png"), quote_path("caf\udce9.png")
    ('50%25/a%23b%3F.png', 'caf%E9.png')
    """
    return urllib.parse.quote(os.fsencode(path), safe="/")


def _page() -> Iterator[File]:
    """The files that all galleries have in common."""
    page = importlib.resources.files("dc_keras.exploring") / "page"
    for file in sorted(page.iterdir(), key=lambda file: file.name):
        if file.name.endswith((".html", ".css", ".js")):
            yield file.name, file.read_bytes()


def _summary(found: FoundImages, order: GalleryOrder, run: GalleryRun) -> Iterator[File]:
    num_clusters = len(order.clusters)
    in_marker = {"format": _FORMAT, "version": 1, "gallery": run.identity}
    yield _MARKER, (json.dumps(in_marker) + "\n").encode()
    total = np.bincount(found.clusters, weights=found.distances, minlength=num_clusters)
    means = total[order.clusters] / np.maximum(order.sizes, 1)
    grouped = found.duplicate_groups[found.duplicate_groups >= 0]
    yield _script(
        "summary",
        0,
        {
            "gallery": run.identity,
            "title": _shown(run.title),
            "link": run.link,
            "rows": run.num_rows,
            "images": len(found.paths),
            "clusters": order.clusters.tolist(),
            "sizes": order.sizes.tolist(),
            "names": [_shown(found.cluster_names[c]) for c in order.clusters]
            if found.cluster_names
            else [],
            "means": np.round(means, 4).tolist(),
            "outliers": int(found.outliers.sum()),
            "duplicates": len(grouped),
            "duplicateGroups": len(np.unique(grouped)),
            "classes": [_shown(name) for name in found.class_names or ()],
            "main": _main_classes(found, order),
            "kinds": DUPLICATE_KINDS,
            "cell": CELL,
            "columns": COLUMNS,
            "imagesInChunk": IMAGES_IN_CHUNK,
            "clustersInChunk": CLUSTERS_IN_CHUNK,
            "onCover": IMAGES_ON_COVER,
        },
    )


def _class_counts(found: FoundImages, order: GalleryOrder) -> np.ndarray | None:
    """How many images of each class are in each cluster, int64 (k, classes), by size."""
    if found.labels is None or not found.class_names:
        return None
    known = found.labels >= 0
    counts = np.zeros((len(order.clusters), len(found.class_names)), np.int64)
    np.add.at(counts, (found.clusters[known], found.labels[known]), 1)
    return counts[order.clusters]


def _main_classes(found: FoundImages, order: GalleryOrder) -> list[list[int]]:
    """The commonest class of each cluster, and how many images are of it."""
    counts = _class_counts(found, order)
    if counts is None:
        return []
    return np.stack([counts.argmax(axis=1), counts.max(axis=1)], axis=1).tolist()


def _cluster_chunks(found: FoundImages, order: GalleryOrder) -> Iterator[File]:
    """Of each cluster what its own view shows beside the images."""
    margins, scores = found.margins[order.images], found.outlier_scores[order.images]
    apart = found.outliers[order.images]
    counts = _class_counts(found, order)
    for first in range(0, len(order.clusters), CLUSTERS_IN_CHUNK):
        rows = []
        for rank in range(first, min(first + CLUSTERS_IN_CHUNK, len(order.clusters))):
            start, end = order.starts[rank], order.starts[rank] + order.sizes[rank]
            borderline = np.argsort(margins[start:end], kind="stable")[:_SHOWN]
            outliers = np.flatnonzero(apart[start:end])
            outliers = outliers[np.argsort(-scores[start:end][outliers], kind="stable")][:_SHOWN]
            row = {
                "borderline": (start + borderline).tolist(),
                "outliers": (start + outliers).tolist(),
                "outlierCount": int(apart[start:end].sum()),
                "neighbours": found.cluster_neighbours[order.clusters[rank]].tolist(),
            }
            if counts is not None:
                common = np.argsort(-counts[rank], kind="stable")
                common = common[counts[rank, common] > 0]
                row["labels"] = np.stack([common, counts[rank, common]], axis=1).tolist()
            rows.append(row)
        yield _script("clusters", first // CLUSTERS_IN_CHUNK, rows)


def _image_chunks(found: FoundImages, order: GalleryOrder) -> Iterator[File]:
    """Of each image all that is known."""
    for first in range(0, len(order.images), IMAGES_IN_CHUNK):
        images = order.images[first : first + IMAGES_IN_CHUNK]
        names = [found.paths[image] for image in images]
        nearest = found.nearest[images]
        places = np.where(nearest >= 0, order.places[nearest], -1)
        chunk = {
            "names": [_shown(name) for name in names],
            # Of the others the page makes it from the name.
            "links": {
                str(index): quote_path(name)
                for index, name in enumerate(names)
                if not _is_unicode(name)
            },
            "distances": _packed(found.distances[images], "<f4"),
            "margins": _packed(found.margins[images], "<f4"),
            "scores": _packed(found.outlier_scores[images], "<f4"),
            "outliers": _packed(found.outliers[images], "u1"),
            "duplicates": _packed(found.duplicate_groups[images], "<i4"),
            "nearest": _packed(places, "<i4"),
            "nearestDistances": _packed(found.nearest_distances[images], "<f4"),
        }
        if found.labels is not None:
            chunk["labels"] = _packed(found.labels[images], "<i4")
        yield _script("chunk", first // IMAGES_IN_CHUNK, chunk)


def _whole_run(found: FoundImages, order: GalleryOrder, rows: np.ndarray) -> Iterator[File]:
    """The map, the rows in the manifest, and groups of duplicates and outliers of the whole run."""
    positions = found.positions[order.images].astype(np.float64)
    low, high = positions.min(axis=0), positions.max(axis=0)
    # One scale for both directions.
    scale = 65535 / max(float((high - low).max()), 1e-12)
    packed = _packed(np.round((positions - low) * scale), "<u2")
    yield _script("map", 0, packed)
    yield _script("order", 0, _packed(rows[order.images], "<i4"))
    outliers = np.flatnonzero(found.outliers)
    outliers = outliers[np.argsort(-found.outlier_scores[outliers], kind="stable")]
    in_groups = np.flatnonzero(found.duplicate_groups >= 0)
    by_group = np.argsort(found.duplicate_groups[in_groups], kind="stable")
    in_groups = in_groups[by_group]
    yield _script(
        "groups",
        0,
        {
            "outliers": _packed(order.places[outliers], "<i4"),
            "duplicates": _packed(order.places[in_groups], "<i4"),
            "numbers": _packed(found.duplicate_groups[in_groups], "<i4"),
            "kinds": _packed(found.duplicate_kinds[in_groups], "u1"),
        },
    )


def _covers(order: GalleryOrder) -> np.ndarray:
    """The images in the cells of the cover sheets; clusters that are small repeat their last."""
    filled = order.sizes > 0
    starts, sizes = order.starts[filled, None], order.sizes[filled, None]
    return order.images[starts + np.minimum(np.arange(IMAGES_ON_COVER), sizes - 1)].ravel()


def _script(kind: str, number: int, value: object) -> File:
    """A script that hands data to the page; ASCII, so that no encoding matters."""
    path = f"data/{kind}-{number}.js" if kind in ("clusters", "chunk") else f"data/{kind}.js"
    # JSON in a string is read several times faster than as a script's own values.
    text = json.dumps(json.dumps(value, separators=(",", ":"), allow_nan=False))
    return path, f"galleryData({json.dumps(kind)},{number},{text});\n".encode("ascii")


def _packed(values: np.ndarray, kind: str) -> str:
    """Numbers in base64, little-endian: half the size of text, and read at once."""
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode("ascii")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    r"""A name as it is shown: bytes that are no UTF-8 as `\xe9`.

    >>> _shown("caf\udce9.png")
    'caf\\xe9.png'
    """
    if _is_unicode(text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
