"""The images of a run as its manifest lists them, and the clusters that its training ended with."""

import csv
import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dc_keras.assembly import pixel_options
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.labels import FOLDERS
from dc_keras.data.sources.manifest import Manifest, positions_of, read_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.paths import is_remote
from dc_keras.runs.run_directory import RunDirectory

GONE = "not found any more"
# Which folder that was, no run knows.
_IF_MOVED = (
    "If dc-keras sort --move took them, it brings them back: dc-keras sort --undo --out=SORTED, "
    "with the folder that it sorted them into."
)


@dataclasses.dataclass(frozen=True)
class RunImages:
    """Those images of a run that are still there.

    Attributes:
        source: The images.
        indices: Which rows of the manifest they are, ascending, int64 `(m,)`.
        manifest: The images of the run.
        gone: Names of those that are not there any more.
    """

    source: ImageSource
    indices: np.ndarray
    manifest: Manifest
    gone: tuple[str, ...]

    @property
    def root(self) -> str:
        """The folder of the images, absolute; empty where they are no files of this machine."""
        if isinstance(self.source, FolderSource) and not is_remote(self.source.root):
            return os.path.abspath(self.source.root)
        return ""

    def labels_of(self, rows: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
        """Classes by the manifest.

        Args:
            rows: Rows of the manifest, integers `(n,)`.

        Returns:
            Labels, int32 `(n,)`, and names of the classes; twice None where there are none.
        """
        if not any(self.manifest.labels):
            return None, None
        classes = tuple(sorted(set(self.manifest.labels)))
        number = {name: index for index, name in enumerate(classes)}
        labels = [number[self.manifest.labels[row]] for row in rows]
        return np.array(labels, np.int32), classes

    def stamp(self) -> str:
        """A digest of the sizes and times of all files: another one where an image has changed."""
        digest = hashlib.sha256()
        for name in self.source.names if self.root else ():
            digest.update(os.fsencode(name) + b"\0")
            try:
                status = os.stat(os.path.join(self.root, name))
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(b"gone\n")
        return digest.hexdigest()


def open_run_images(run: RunDirectory) -> RunImages:
    """Opens the images of a run.

    Args:
        run: A run, of whose images some may have vanished.

    Raises:
        InputError: If there is no run, or none of its images is there any more.
    """
    config = run.config()
    manifest = read_manifest(run.manifest)
    # Images outside of class folders are no images of a run that takes those alone.
    labels = config.labels if config.labels == FOLDERS else ""
    try:
        source = open_source(config.data_dir, labels, pixel_options(config))
    except InputError as error:
        raise InputError(f"{error} {_IF_MOVED}") from error
    positions, gone = positions_of(manifest.names, source)
    if not len(positions):
        raise InputError(
            f"None of the run's images is there any more. Received: {config.data_dir} with "
            f"{len(source):,} images, of which none is among the {len(manifest.names):,} of "
            f"{run.manifest}. Bring them back to where they were. {_IF_MOVED}"
        )
    lost = set(gone)
    rows = [row for row, name in enumerate(manifest.names) if name not in lost]
    return RunImages(source.select(positions), np.array(rows, np.int64), manifest, tuple(gone))


class FinalClusters(NamedTuple):
    """The clusters that a training ended with.

    Attributes:
        names: n names of the images, in the order of the manifest.
        clusters: int32 `(n,)` cluster of each.
        num_clusters: How many there are, k.
    """

    names: Sequence[str]
    clusters: np.ndarray
    num_clusters: int


def final_clusters(run: RunDirectory) -> FinalClusters:
    """Reads the cluster of each image at the end of the training.

    Args:
        run: A finished run.

    Raises:
        InputError: If there are none, or they are damaged.
    """
    num_clusters = _number_of_clusters(run)
    names = read_manifest(run.manifest).names
    return FinalClusters(names, _read_clusters(run, len(names), num_clusters), num_clusters)


def _number_of_clusters(run: RunDirectory) -> int:
    path = run.model / "centroids.npy"
    try:
        return len(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise InputError(
            f"The run has no final clusters. Received: --run_dir={run.path}. Expected a run that "
            f"has finished; go on with: python train.py --flagfile={run.flags}"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"The clusters of the run are damaged. Received: {path} ({error}). Expected the file "
            "that train.py wrote: bring it back from a backup."
        ) from error


def _read_clusters(run: RunDirectory, num_images: int, num_clusters: int) -> np.ndarray:
    """Reads RUN/model/clusters.csv."""
    path = run.model / "clusters.csv"
    try:
        # Paths in it are made harmless for spreadsheets; the indices are those of the manifest.
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        clusters = _in_order(header, rows)
        if len(clusters) != num_images:
            raise ValueError(f"{len(clusters):,} of {num_images:,} images")
        if not 0 <= clusters.min() <= clusters.max() < num_clusters:
            raise ValueError(f"clusters that are not among {num_clusters:,}")
        return clusters
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The clusters of the run cannot be read. Received: {str(path)!r} ({error}). Expected "
            "the file index,path,cluster that train.py wrote. Bring it back from a backup, or "
            f"remove {run.model} and write it anew with: python train.py --flagfile={run.flags}"
        ) from error


def _in_order(header: Sequence[str], rows: Sequence[Sequence[str]]) -> np.ndarray:
    if list(header) != ["index", "path", "cluster"]:
        raise ValueError("another header")
    if any(len(row) != 3 or row[0] != str(index) for index, row in enumerate(rows)):
        raise ValueError("another numbering")
    return np.array([int(row[2]) for row in rows], np.int32)
