"""Settings of the programs: the only folder that reads flags.

TensorFlow is not imported here, so a wrong flag is reported at once.
"""

from dc_keras.config.cluster import ClusterConfig
from dc_keras.config.evaluation import EvaluationConfig
from dc_keras.config.flags import exit_with_input_error, parser
from dc_keras.config.look import LookConfig
from dc_keras.config.programs import (
    ApplyConfig,
    AssignConfig,
    ConvertConfig,
    DuplicatesConfig,
    ExportConfig,
    GalleryConfig,
    PackConfig,
    ServeCheckConfig,
    SortConfig,
    TableConfig,
)
from dc_keras.config.training import TrainingConfig

__all__ = [
    "ApplyConfig",
    "AssignConfig",
    "ClusterConfig",
    "ConvertConfig",
    "DuplicatesConfig",
    "EvaluationConfig",
    "ExportConfig",
    "GalleryConfig",
    "LookConfig",
    "PackConfig",
    "ServeCheckConfig",
    "SortConfig",
    "TableConfig",
    "TrainingConfig",
    "exit_with_input_error",
    "parser",
]
