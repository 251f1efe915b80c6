"""Whether an exported model answers as its run does, where nothing but TensorFlow is at hand."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dc_keras.assembly import pixel_options
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import has_clusters
from dc_keras.serving import clean_client
from dc_keras.serving.assigned_images import answers
from dc_keras.serving.cluster_model import ClusterModel, NearestClusters
from dc_keras.serving.export import EXPORT, EXTRA, features_of_checkpoint
from dc_keras.serving.run_model import model_of_run

# One image too many for whole blocks, and one that cannot be read.
IMAGES, BROKEN = 41, b"no image"
# Of the largest number: where a graph is optimised otherwise, sums are rounded otherwise.
TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An output of the model beside the run's own answer.

    Attributes:
        output: Its signature and name.
        largest_difference: Between two numbers, over the largest number; for clusters the part of
            the images that have another one.
        same_bits: Whether nothing differs at all.
    """

    output: str
    largest_difference: float
    same_bits: bool

    @property
    def agrees(self) -> bool:
        """Whether the difference is round-off."""
        return self.largest_difference <= TOLERANCE


def serve_check(folder: str, run_dir: str = "") -> list[Comparison]:
    """Compares the answers of an exported model with those of its run.

    Args:
        folder: What `dc-keras export` has written: a version, or the folder of versions, of which
            the newest is taken.
        run_dir: The run; default: the one that it was exported from.

    Returns:
        What was compared.

    Raises:
        InputError: If there is no such model, or its run or the images of that are gone, or it
            cannot be loaded.
    """
    version = _version(pathlib.Path(folder))
    run = RunDirectory(run_dir or _told_run(version))
    config = run.config()
    source = open_source(config.data_dir, options=pixel_options(config))
    chosen = np.linspace(0, len(source) - 1, min(IMAGES, len(source))).astype(int)
    source = source.select(np.unique(chosen))
    model = model_of_run(run) if has_clusters(run) else features_of_checkpoint(run)
    with tempfile.TemporaryDirectory() as temporary:
        requests = pathlib.Path(temporary, "requests")
        requests.mkdir()
        for index in range(len(source)):
            (requests / f"{index:03d}").write_bytes(encoded(source, index))
        (requests / f"{len(source):03d}").write_bytes(BROKEN)
        served = _ask_in_a_clean_process(version, requests, pathlib.Path(temporary, "answers.npz"))
    return compared(served, own_answers(model, source))


def encoded(source: ImageSource, index: int) -> bytes:
    """An image as the bytes of a file: its own, or for arrays a PNG."""
    image = source.load(tf.constant(index))
    if image.dtype != tf.string:
        pixels = tf.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
        image = tf.io.encode_png(pixels)
    content: bytes = image.numpy()
    return content


def own_answers(model: ClusterModel, source: ImageSource) -> dict[str, np.ndarray]:
    """What the run's own model says of the images, by signature and output."""

    def all_of(answer):
        parts = list(answers(model, answer, source))
        return tf.nest.map_structure(lambda *values: np.concatenate(values), *parts)

    found = {"serving_default/features": all_of("features")}
    if model.has_clusters:
        nearest: NearestClusters = all_of("nearest")
        found |= {
            "embedding/embedding": all_of("embedding"),
            "assign/cluster": nearest.clusters[:, 0],
            "assign/distance": nearest.distances[:, 0],
            "assign/margin": nearest.margins,
            "assign/outlier": nearest.outliers,
            "assign/top_clusters": nearest.clusters,
            "assign/top_distances": nearest.distances,
        }
    return found


def compared(
    served: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> list[Comparison]:
    """Compares answers, and looks whether the image that is none was refused.

    Args:
        served: By signature and output, `(n + 1, ...)`; the last row is of what is no image.
        expected: The same, `(n, ...)`.

    Raises:
        InputError: If outputs are missing, or an image was refused that should not be, or one was
            not that should.
    """
    if missing := sorted(expected.keys() - served.keys()):
        raise InputError(
            f"The model has not all outputs that its run would have. Received: one without "
            f"{', '.join(missing)}. Export the run again."
        )
    for name in served:
        signature, _, output = name.partition("/")
        if output == "status":
            refused = np.flatnonzero(served[name] != b"")
            if refused.tolist() != [len(served[name]) - 1]:
                raise InputError(
                    f"The model refuses other images than the run does. Received: the signature "
                    f"{signature} refuses images {refused.tolist()} of {len(served[name])}, of "
                    "which the last one is none. Export the run again."
                )
    return [_comparison(name, served[name][:-1], values) for name, values in expected.items()]


def _comparison(name: str, served: np.ndarray, expected: np.ndarray) -> Comparison:
    same = bool(np.array_equal(served, expected))
    if served.shape != expected.shape:
        difference = float("inf")
    elif expected.dtype.kind == "f":
        largest = float(np.abs(expected).max(initial=np.finfo(np.float32).tiny))
        difference = float(np.abs(served - expected).max(initial=0)) / largest
    else:
        difference = float(np.mean(served != expected))
    return Comparison(name, difference, same)


def _version(folder: pathlib.Path) -> pathlib.Path:
    """The folder of a version: the given one, or the newest below it."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [path for path in folder.glob("*") if path.name.isdecimal()]
    if versions:
        return max(versions, key=lambda path: int(path.name))
    raise InputError(
        f"There is no exported model. Received: {folder}. Expected a folder that dc-keras export "
        "wrote, with versions 1, 2, ..., or one of these."
    )


def _told_run(version: pathlib.Path) -> str:
    """The run that a version was exported from."""
    path = version / EXTRA / EXPORT
    try:
        return str(json.loads(path.read_bytes())["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The model does not say of which run it is. Received: {path} "
            f"({type(error).__name__}). Name the run: --run_dir=RUN."
        ) from error


def _ask_in_a_clean_process(
    version: pathlib.Path, requests: pathlib.Path, out: pathlib.Path
) -> dict[str, np.ndarray]:
    program = [sys.executable, "-I", clean_client.__file__, str(version), str(requests), str(out)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"The model cannot be used. Received: {version} ({reason}). Export the run again."
        )
    with np.load(out, allow_pickle=False) as found:
        return dict(found)
