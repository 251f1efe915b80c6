"""The smallest run that does everything, for tests that need a run or its settings."""

from dc_keras.config import TrainingConfig

FLAGS = (
    "--image_size=32 --width=0.0625 --fc_init=scaled --num_clusters=6 --pca_dim=16 --epochs=2 "
    "--batch_size=16 --crop_min_area=0.5 --fit=crop_large"
).split()


def tiny(data_dir, run_dir, *more) -> TrainingConfig:
    """Its settings; flags that are given win over those above."""
    flags = [*FLAGS, f"--data_dir={data_dir}", f"--run_dir={run_dir}", *more]
    config = TrainingConfig.from_arguments(flags)
    config.validate()
    return config
