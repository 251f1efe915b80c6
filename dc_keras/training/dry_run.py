"""What a run would take, from a few steps on some of its images; nothing of it is written."""

import pathlib
import shutil

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.config import TrainingConfig
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.labels import describe_labels
from dc_keras.data.sources.open import open_source
from dc_keras.memory import free_memory
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.starting_weights import starting_network
from dc_keras.training.choosing import with_choices
from dc_keras.training.description import describe_run
from dc_keras.training.images import check_number_of_clusters
from dc_keras.training.measuring import Effort, measure, take_sample
from dc_keras.training.run_time import Measured, run_time


def dry_run(config: TrainingConfig) -> str:
    """Measures some steps of a run, without its folder.

    Args:
        config: Validated settings.

    Returns:
        What the run is, and the time, memory and disk that it would take, in some lines.

    Raises:
        InputError: If images, settings or the weights to start from do not allow the run.
    """
    config = config.with_absolute_paths()
    run = RunDirectory(config.run_dir)
    chosen = with_choices(config, run)
    config = chosen.config
    strategy = assembly.prepare_devices(config)
    starting = starting_network(config, run, strategy)
    source = open_source(config.data_dir, config.labels, assembly.pixel_options(config))
    check_number_of_clusters(config.num_clusters, len(source), config.final_clusters)
    measured = chosen.measured
    with strategy.scope():
        if measured is None:
            measured = _measured(config, source)
        weights = assembly.build_untrained(config).count_params()
    schedule = Schedule.of(config, len(source))
    description = describe_run(config, source, weights, strategy, schedule, starting.told)
    told = [*source.findings.lines(), *describe_labels(source, config.labels)]
    return "\n".join([*told, *chosen.told, description, *estimate(config, len(source), measured)])


def _measured(config: TrainingConfig, source: ImageSource) -> Measured:
    """What the stages take on some of the images."""
    effort = Effort()
    sample = take_sample(config, source, effort.images, config.max_bad_fraction)
    return measure(config, len(source), sample, effort)


def estimate(config: TrainingConfig, num_images: int, measured: Measured) -> list[str]:
    """Time, memory and disk of a run, a line each.

    Args:
        config: The settings.
        num_images: How many images the run would have.
        measured: What some of them took.
    """
    time = run_time(config, num_images, measured)
    in_pca = min(num_images, config.pca_images)
    memory = measured.resident + 4 * (
        num_images * config.pca_dim + 2 * in_pca * measured.feature_dim
    )
    free = free_memory()
    # Weights and the momentum of each.
    checkpoint = 2 * measured.weights
    assignments = time.clusterings * num_images * (1 if config.num_clusters <= 256 else 2)
    disk = config.keep_checkpoints * checkpoint + measured.weights + assignments
    place = pathlib.Path(config.run_dir)
    while not place.exists():
        place = place.parent
    room = shutil.disk_usage(place).free
    return [
        f"Time:     {time.told()}",
        f"Memory:   {memory / 1e9:.1f} GB; {free.bytes / 1e9:.1f} GB {free.told}",
        f"Disk:     {disk / 1e6:,.0f} MB, {config.keep_checkpoints} checkpoints of "
        f"{checkpoint / 1e6:,.0f} MB among them; {room / 1e9:,.0f} GB free",
        "Nothing was written. Without --dry_run the run begins.",
    ]
