"""Small trainers, for tests that look at one without a run."""

from dc_keras.assembly import Schedule, build_trainer
from dc_keras.models.deepcluster import DeepCluster
from tiny import tiny


def tiny_trainer(*flags: str) -> DeepCluster:
    """The trainer of the smallest run, not trained; flags win over those of `tiny`."""
    return build_trainer(tiny("data", "run", *flags), Schedule(epochs=1, steps=1))
