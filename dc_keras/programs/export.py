"""Exports the features of a trained network for serving.

    dc-keras export --run_dir=RUN --out=DIR

writes DIR/1/, or the next free number, as TensorFlow Serving expects. The signature
`serving_default` takes bytes of image files, `features_uint8` takes pixels.

Exit codes: 0 on success, 2 on flags or a run that the program cannot work with.
"""

from dc_keras.config import ExportConfig as Settings
from dc_keras.process import load_libraries_quietly, printable


def main(settings: Settings) -> None:
    """Exports and says how to look at the result."""
    load_libraries_quietly()
    from dc_keras.serving.saved_model import export

    version = export(settings.run_dir, settings.out)
    told = f"Exported to {version}. Inspect it with:\n  saved_model_cli show --dir {version} --all"
    print(printable(told))
