"""Exports a trained network for serving, as a SavedModel.

    dc-keras export --run_dir=RUN --out=DIR

writes DIR/1/, or the next free number, as TensorFlow Serving expects. Its signatures take bytes of
image files, or pixels, and give features, descriptors and clusters; model_card.md beside it lists
them. --layers adds the outputs of other layers, --onnx the model in another format. Look whether
it answers as the run does with

    dc-keras serve-check DIR

Exit codes: 0 on success, 2 on flags or a run that the program cannot work with.
"""

from dc_keras.config import ExportConfig as Settings
from dc_keras.process import load_libraries_quietly, printable
from dc_keras.programs.run import command


def main(settings: Settings) -> None:
    """Exports and says how to look at the result."""
    load_libraries_quietly()
    from dc_keras.exploring.cluster_names import load_names
    from dc_keras.runs.run_directory import RunDirectory
    from dc_keras.runs.trained_model import has_clusters
    from dc_keras.serving.export import EXTRA, export
    from dc_keras.serving.warm_up import REQUESTS

    run = RunDirectory(settings.run_dir)
    run.config()  # Whether there is a run at all.
    version = export(
        settings.run_dir,
        settings.out,
        names=load_names(run) if has_clusters(run) else (),
        layers=settings.layer_names(),
        onnx=settings.onnx,
    )
    told = [f"Exported to {version}, described in {version / 'model_card.md'}."]
    if not has_clusters(run):
        told.append("The run has no final clusters yet: features alone are exported.")
    if not (version / EXTRA / REQUESTS).exists():
        told.append("Without warm-up requests: pip install -r requirements-serving.txt")
    told.append(f"Check it with: {command('serve-check')} {version}")
    print(printable("\n".join(told)))
