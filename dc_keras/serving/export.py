"""A run as the folder of a model that others serve: EXPORTED/1, 2, ...

saved_model.pb, variables/   the SavedModel; see `saved_model`
model.onnx                   the same from pixels on, if asked for; see `onnx_model`
model_card.md                what it is, what it was made of and how good it is
assets.extra/                export.json, by which dc-keras serve-check finds the run, and
warm-up requests for TensorFlow Serving
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from dc_keras.assembly import build_untrained, pixel_options
from dc_keras.errors import InputError
from dc_keras.files import (
    check_output_folder,
    tensorflow_errors_as_os_errors,
    write_directory_atomically,
)
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import has_clusters
from dc_keras.serving.cluster_model import ClusterModel
from dc_keras.serving.model_card import model_card
from dc_keras.serving.onnx_model import write_onnx
from dc_keras.serving.run_model import model_of_run
from dc_keras.serving.saved_model import archive_of, layers_of, write_archive
from dc_keras.serving.warm_up import write_warm_up

EXTRA, EXPORT = "assets.extra", "export.json"


def export(
    run_dir: str,
    out: str,
    *,
    names: Sequence[str] = (),
    layers: Sequence[str] = (),
    onnx: bool = False,
) -> pathlib.Path:
    """Writes the model of a run for serving.

    That of a finished run knows its clusters, and is as RUN/model has it; that of a run which is
    under way, or was imported, has features alone, of its newest checkpoint.

    Args:
        run_dir: The run.
        out: Folder for the versions of the model; made when absent.
        names: Names of the run's clusters, or none.
        layers: Names of layers whose outputs get a signature of their own.
        onnx: Whether to write model.onnx, too.

    Returns:
        The folder of the version that was written.

    Raises:
        InputError: If there is no run, it has no checkpoint, a layer is unknown, or `out` is no
            folder.
    """
    run = RunDirectory(run_dir)
    config = run.config()
    folder = check_output_folder(out)
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(
            f"The output's folder does not let anything be written. Received: --out={out}. Mend "
            "its permissions, or choose another."
        )
    model = model_of_run(run) if has_clusters(run) else features_of_checkpoint(run)
    asked = layers_of(model.model, layers) if layers else None
    archive = archive_of(model, pixel_options(config), names=names, layers=asked)
    version = next_version(pathlib.Path(out))
    with write_directory_atomically(version) as folder, tensorflow_errors_as_os_errors():
        write_archive(archive, folder)
        if onnx:
            write_onnx(model, folder / "model.onnx")
        extra = folder / EXTRA
        extra.mkdir()
        told = {"format": 1, "run": str(run.path.absolute()), "layers": list(layers)}
        (extra / EXPORT).write_text(json.dumps(told) + "\n")
        signatures = archive_signatures(model, layers)
        write_warm_up(extra, signatures, model.image_size)
        (folder / "model_card.md").write_text(model_card(run, model, signatures, onnx=onnx))
    return version


def features_of_checkpoint(run: RunDirectory) -> ClusterModel:
    """The newest features of a run without clusters, in float32."""
    network = build_untrained(dataclasses.replace(run.config(), precision="float32"))
    run.load_weights(network)
    return ClusterModel(feature_model(network, FEATURES))


def archive_signatures(model: ClusterModel, layers: Sequence[str]) -> tuple[str, ...]:
    """Names of the signatures of what `archive_of` makes."""
    clusters = ("embedding", "assign") if model.has_clusters else ()
    return ("serving_default", "features_uint8", *clusters, *(("layers",) if layers else ()))


def next_version(out: pathlib.Path) -> pathlib.Path:
    """The first free version folder below `out`: 1, 2, ..."""
    taken = [int(path.name) for path in out.glob("*") if path.name.isdecimal()]
    return out / str(max(taken, default=0) + 1)
