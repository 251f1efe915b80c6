"""All configurations that are compared can be trained."""

import pytest

from benchmarks.learning.sets import SETS, SMALL
from dc_keras.config import TrainingConfig

CONFIGURATIONS = [
    pytest.param([*SMALL, *changes], id=f"{which}: {name}")
    for which, configurations in SETS.items()
    for name, changes in configurations.items()
]


@pytest.mark.parametrize("flags", CONFIGURATIONS)
def test_flags_are_valid(flags):
    # A trial takes --epochs=0 for itself.
    flags = [flag for flag in flags if flag != "--epochs=0"]
    TrainingConfig.from_arguments([*flags, "--data_dir=IMAGES", "--run_dir=RUN"]).validate()
