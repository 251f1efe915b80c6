"""From a finished run to all that is known of its images, worked out once and kept.

    RUN/exploration/key.json         of which model, manifest and files the rest was made
                    descriptors.npy  float32 (n, dim), rows as in rows.npz
                    thumbnails.rgb   uint8 (n, 64, 64, 3), without a header
                    rows.npz         rows of the manifest, sizes, nearest images, digests

The folder may be removed at any time: it is made again.
"""

import dataclasses
import hashlib
import json
import pathlib
import zipfile
from collections.abc import Callable

import numpy as np

from dc_keras.clustering.nearest_images import nearest_images
from dc_keras.errors import InputError
from dc_keras.exploring.cluster_names import load_names
from dc_keras.exploring.digests import file_digests, firsts, pixel_digests
from dc_keras.exploring.duplicates import (
    Duplicates,
    NearOptions,
    find_duplicates,
    fingerprints,
    may_have_same_pixels,
    near_copies,
    nearest_by_fingerprint,
)
from dc_keras.exploring.found_images import FoundImages
from dc_keras.exploring.image_map import image_positions
from dc_keras.exploring.image_pass import look_at_images, open_thumbnails
from dc_keras.exploring.places import cluster_neighbours, distances_and_margins, outlier_scores
from dc_keras.exploring.run_images import GONE, RunImages, final_clusters, open_run_images
from dc_keras.files import write_directory_atomically
from dc_keras.runs.checksums import SUMS
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model

# Another one makes explorations of older versions anew.
_FORMAT = 1
_KEY, _DESCRIPTORS, _THUMBNAILS, _ROWS = (
    "key.json",
    "descriptors.npy",
    "thumbnails.rgb",
    "rows.npz",
)


@dataclasses.dataclass(frozen=True)
class Exploration:
    """All that is known of the images of a run.

    Attributes:
        found: What tables and pages show, one row an image. Images that cannot be read any more
            have no row.
        indices: The row of each in the manifest, int64 `(n,)`.
        thumbnails: The largest square in the middle of each image, uint8 `(n, 64, 64, 3)`, mapped
            from a file.
        descriptors: float32 `(n, dim)`, mapped from a file.
        sizes: Height and width of each image in pixels, int32 `(n, 2)`.
        duplicates: The groups of copies, and the pairs that make them.
        near: When two images counted as near copies.
        gone: The reason by name for images of the run that are not there or cannot be read.
        recall: Part of the nearest images that were found; 1 if all pairs were compared.
    """

    found: FoundImages
    indices: np.ndarray
    thumbnails: np.ndarray
    descriptors: np.ndarray
    sizes: np.ndarray
    duplicates: Duplicates
    near: NearOptions
    gone: dict[str, str]
    recall: float


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What is kept of the pass, one row an image, beside descriptors and thumbnails."""

    indices: np.ndarray
    sizes: np.ndarray
    nearest: np.ndarray
    nearest_distances: np.ndarray
    hashes: np.ndarray
    alike: np.ndarray
    file_digests: np.ndarray
    pixel_digests: np.ndarray
    centroids: np.ndarray
    recall: np.ndarray


def explore(
    run_dir: str,
    near: NearOptions | None = None,
    *,
    batch_size: int = 256,
    progress: bool = False,
    say: Callable[[str], None] = print,
) -> Exploration:
    """Looks at all images of a run, or takes what is known of them from before.

    Args:
        run_dir: A finished run.
        near: When two images are near copies; default: `NearOptions()`.
        batch_size: Images in a step of feature extraction.
        progress: Whether to show progress bars.
        say: Told, a line at a time, of images that are gone.

    Raises:
        InputError: If the run is not finished or has no clusters, or all its images are gone.
    """
    near = near or NearOptions()
    run = RunDirectory(run_dir)
    run.config()  # Whether there is a run at all.
    if not (run.model / "centroids.npy").exists():
        load_model(run)  # It says what is missing.
    images = open_run_images(run)
    folder = run.path / "exploration"
    key = _key(run, images)
    known = _load(folder, key)
    if known is None:
        _look(run, images, folder, key, batch_size=batch_size, progress=progress)
        known = _load(folder, key)
    if known is None:
        raise InputError(
            f"What was found out about the images cannot be read again. Received: {folder}. "
            "Expected the files that were just written: is another program changing them?"
        )
    rows, descriptors, thumbnails, gone = known
    for line in _told(gone, len(images.manifest.names)):
        say(line)
    return _put_together(run, images, rows, (descriptors, thumbnails), near, gone)


def _put_together(
    run: RunDirectory,
    images: RunImages,
    rows: _Rows,
    arrays: tuple[np.ndarray, np.ndarray],
    near: NearOptions,
    gone: dict[str, str],
) -> Exploration:
    descriptors, thumbnails = arrays
    final = final_clusters(run)
    clusters = final.clusters[rows.indices]
    distances, margins = distances_and_margins(descriptors, rows.centroids, clusters)
    scores, outliers = outlier_scores(rows.nearest_distances)
    duplicates = find_duplicates(
        rows.file_digests.tolist(),
        rows.pixel_digests.tolist(),
        near_copies(descriptors, (rows.nearest, rows.alike), rows.hashes, thumbnails, near),
    )
    labels, class_names = images.labels_of(rows.indices)
    found = FoundImages(
        paths=tuple(images.manifest.names[row] for row in rows.indices),
        root=images.root,
        clusters=clusters,
        distances=distances,
        margins=margins,
        outlier_scores=scores,
        outliers=outliers,
        nearest=rows.nearest,
        nearest_distances=rows.nearest_distances,
        duplicate_groups=duplicates.groups,
        duplicate_kinds=duplicates.kinds,
        positions=image_positions(descriptors, rows.centroids, clusters),
        cluster_neighbours=cluster_neighbours(rows.centroids),
        cluster_names=load_names(run) or ("",) * final.num_clusters,
        labels=labels,
        class_names=class_names,
    )
    return Exploration(
        found,
        rows.indices,
        thumbnails,
        descriptors,
        rows.sizes,
        duplicates,
        near,
        gone,
        float(rows.recall),
    )


def _look(
    run: RunDirectory,
    images: RunImages,
    folder: pathlib.Path,
    key: dict,
    *,
    batch_size: int,
    progress: bool,
) -> None:
    """Looks at all images and writes what was found."""
    model = load_model(run)
    with write_directory_atomically(folder) as new:
        seen = look_at_images(
            model,
            images.source,
            images.indices,
            new / _THUMBNAILS,
            batch_size=batch_size,
            progress=progress,
        )
        if not len(seen.kept):
            name, why = next(iter(seen.unreadable.items()))
            raise InputError(
                f"None of the run's images can be read any more. Received: {name} ({why}) and "
                f"{len(seen.unreadable) - 1:,} more. Bring them back to where they were."
            )
        neighbours = nearest_images(seen.descriptors, seed=run.config().seed)
        source = images.source.select(seen.kept)
        thumbnails = open_thumbnails(new / _THUMBNAILS, len(seen.kept))
        hashes = fingerprints(thumbnails)
        suspects = np.flatnonzero(may_have_same_pixels(hashes[:, 0], seen.sizes))
        by_bytes = file_digests(images.root, source.names, suspects)
        by_pixels = pixel_digests(source, firsts(by_bytes, suspects), progress=progress)
        np.save(new / _DESCRIPTORS, seen.descriptors)
        rows = _Rows(
            indices=images.indices[seen.kept],
            sizes=seen.sizes,
            nearest=neighbours.indices,
            nearest_distances=neighbours.distances,
            hashes=hashes,
            alike=nearest_by_fingerprint(hashes[:, 0]),
            file_digests=by_bytes,
            pixel_digests=by_pixels,
            centroids=np.ascontiguousarray(model.centroids, np.float32),
            recall=np.array(neighbours.recall),
        )
        np.savez(new / _ROWS, **vars(rows))
        gone = dict.fromkeys(images.gone, GONE) | seen.unreadable
        (new / _KEY).write_text(json.dumps({"key": key, "gone": gone}) + "\n")


def _key(run: RunDirectory, images: RunImages) -> dict:
    """What an exploration depends on: model, manifest, the files, and which of them are gone."""
    return {
        "format": _FORMAT,
        "model": _digest_of_model(run.model),
        "manifest": hashlib.sha256(run.manifest.read_bytes()).hexdigest(),
        "files": images.stamp(),
    }


def _digest_of_model(folder: pathlib.Path) -> str:
    """Of the checksums, or in models of older versions of the files themselves."""
    digest = hashlib.sha256()
    sums = folder / SUMS
    for path in [sums] if sums.exists() else sorted(folder.iterdir()):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _load(
    folder: pathlib.Path, key: dict
) -> tuple[_Rows, np.ndarray, np.ndarray, dict[str, str]] | None:
    """What is known from before, or None if there is nothing, or it is of other images."""
    try:
        saved = json.loads((folder / _KEY).read_bytes())
        if saved["key"] != key:
            return None
        with np.load(folder / _ROWS, allow_pickle=False) as arrays:
            rows = _Rows(**{name: arrays[name] for name in arrays.files})
        descriptors = np.load(folder / _DESCRIPTORS, mmap_mode="r", allow_pickle=False)
        if len(descriptors) != len(rows.indices):
            return None
        thumbnails = open_thumbnails(folder / _THUMBNAILS, len(rows.indices))
        return rows, descriptors, thumbnails, dict(saved["gone"])
    # A damaged file can make its reader raise any of these; it is made again.
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _told(gone: dict[str, str], total: int) -> list[str]:
    """A line for the user on images that are gone."""
    if not gone:
        return []
    name, why = next(iter(gone.items()))
    more = f", and {len(gone) - 1:,} more" if len(gone) > 1 else ""
    return [f"Left out {len(gone):,} of the run's {total:,} images: {name} ({why}){more}"]
