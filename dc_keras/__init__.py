"""DeepCluster in TensorFlow and Keras: visual features learned from images without labels.

The package follows the loop of the method: `data` reads images, `models` holds the network,
`clustering` turns features into pseudo-labels, `training` alternates the two, `evaluation` measures
what was learned and `serving` puts it to use. `runs` is the folder of a run, `config` its flags,
and `programs` what `dc-keras` starts.

    from dc_keras import TrainingConfig, train

    config = TrainingConfig.from_arguments(["--preset=quickstart", "--run_dir=RUN"])
    run = train(config)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dc_keras.config import EvaluationConfig as EvaluationConfig
    from dc_keras.config import TrainingConfig as TrainingConfig
    from dc_keras.errors import InputError as InputError
    from dc_keras.evaluation.evaluate import evaluate as evaluate
    from dc_keras.models.saved_network import load_network as load_network
    from dc_keras.runs.run_directory import RunDirectory as RunDirectory
    from dc_keras.serving.export import export as export
    from dc_keras.training.loop import train as train

__version__ = "0.1.0"

# What the package offers by its own name, loaded when it is asked for: TensorFlow takes seconds.
_PUBLIC = {
    "EvaluationConfig": "dc_keras.config",
    "InputError": "dc_keras.errors",
    "RunDirectory": "dc_keras.runs.run_directory",
    "TrainingConfig": "dc_keras.config",
    "evaluate": "dc_keras.evaluation.evaluate",
    "export": "dc_keras.serving.export",
    "load_network": "dc_keras.models.saved_network",
    "train": "dc_keras.training.loop",
}


def __getattr__(name: str) -> Any:
    """Loads what `_PUBLIC` names."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dc_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
