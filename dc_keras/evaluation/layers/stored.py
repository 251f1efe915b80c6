"""Features of all layers in files: one pass over the images, and one layer in memory at a time."""

import contextlib
import dataclasses
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from tqdm import tqdm

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.evaluation.layers.pooled import dimensions, layer_names, pooled_layers
from dc_keras.files import explain_write_errors
from dc_keras.models.feature_extractor import FeatureExtractor

# Beside the features, so that the disk is not filled to its last byte.
_SPARE = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class StoredFeatures:
    """Features in files, one for each layer of each set of images.

    Attributes:
        folder: Where the files are.
        layers: Names of the layers, from the image on.
    """

    folder: pathlib.Path
    layers: tuple[str, ...]

    def load(self, part: str, layer: str) -> np.ndarray:
        """Maps a file: what is read of it is in memory, and only for as long as the array is.

        Args:
            part: Name of a set of images.
            layer: Name of a layer.

        Returns:
            float32 `(n, d)`, read-only, in the order of the images.
        """
        return np.load(self._path(part, layer), mmap_mode="r")

    def _path(self, part: str, layer: str) -> pathlib.Path:
        return self.folder / f"{part}-{self.layers.index(layer)}.npy"


def needed_bytes(model: keras.Model, num_images: int) -> int:
    """Room on the disk that the features of so many images take.

    Args:
        model: As of `pooled.pooled_layers`.
        num_images: In all sets together.
    """
    return num_images * sum(dimensions(model)) * np.dtype(np.float32).itemsize


@contextlib.contextmanager
def stored_features(
    network: keras.Model,
    sources: Mapping[str, ImageSource],
    layers: Sequence[str] = (),
    *,
    batch_size: int,
    folder: pathlib.Path | None = None,
) -> Iterator[StoredFeatures]:
    """Computes the features of all layers in one pass over the images, and keeps them in files.

    Args:
        network: From images to logits; called with `training=False`.
        sources: Sets of images by name, such as "train" and "test".
        layers: Of the network; empty for all.
        batch_size: Images in a step.
        folder: Where the temporary folder is made; None for that of the system.

    Yields:
        The features. Their folder is gone when the block ends, by an error too.

    Raises:
        InputError: If the disk has no room for them, before any is computed.
        CannotWriteError: If they cannot be written.
    """
    with network.distribute_strategy.scope():
        model = pooled_layers(network, layers)
    place = pathlib.Path(folder or tempfile.gettempdir())
    check_disk(model, sum(map(len, sources.values())), place)
    names = tuple(layers) or layer_names(network)
    with contextlib.ExitStack() as stack:
        with explain_write_errors(place):
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="layers.", dir=place))
        stored = StoredFeatures(pathlib.Path(made), names)
        extractor = FeatureExtractor(model)
        for part, source in sources.items():
            _store(extractor, dimensions(model), source, stored, part, batch_size)
        yield stored


def check_disk(model: keras.Model, num_images: int, place: pathlib.Path) -> None:
    """Checks that the features of so many images have room on the disk.

    Args:
        model: As of `pooled.pooled_layers`.
        num_images: In all sets together.
        place: A folder that exists.

    Raises:
        InputError: If there is less.
    """
    needed = needed_bytes(model, num_images)
    with explain_write_errors(place):
        free = shutil.disk_usage(place).free
    if needed + _SPARE > free:
        raise InputError(
            f"The disk has no room for the features of all layers. Received: {num_images:,} images "
            f"of {sum(dimensions(model)):,} values, which need {needed / 1e9:,.1f} GB in {place}, "
            f"where {free / 1e9:,.1f} GB are free. Give a smaller --max_images, or "
            "make room."
        )


def _store(
    extractor: FeatureExtractor,
    sizes: Sequence[int],
    source: ImageSource,
    stored: StoredFeatures,
    part: str,
    batch_size: int,
) -> None:
    """Writes the features of a set of images, batch by batch.

    By the file, not by a map of it: pages of a map count as memory of the process.
    """
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=extractor.image_size, batch_size=batch_size
    )
    quiet = not sys.stderr.isatty()
    with (
        explain_write_errors(stored.folder),
        contextlib.ExitStack() as stack,
        tqdm(total=len(source), desc=f"features, {part}", disable=quiet, leave=False) as bar,
    ):
        files = []
        for layer, size in zip(stored.layers, sizes, strict=True):
            file = stack.enter_context(open(stored._path(part, layer), "wb"))
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(source), size)}
            np.lib.format.write_array_header_1_0(file, header)
            files.append(file)
        for outputs in extractor(batches):
            # A model with a single output gives it bare.
            outputs = outputs if isinstance(outputs, list) else [outputs]
            for file, features in zip(files, outputs, strict=True):
                file.write(np.ascontiguousarray(features, "<f4").data)
            bar.update(len(outputs[0]))
