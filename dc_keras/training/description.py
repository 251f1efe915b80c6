"""What a run says about itself before it begins."""

import textwrap

import tensorflow as tf

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.clustering.centroids import kmeans_devices
from dc_keras.config import TrainingConfig
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.machine import devices_of


def describe_run(
    config: TrainingConfig,
    source: ImageSource,
    num_weights: int,
    strategy: tf.distribute.Strategy,
    schedule: Schedule,
    start: str = "",
) -> str:
    """Says in a few lines what is about to happen.

    Args:
        config: The settings.
        source: The images.
        num_weights: Weights of the network.
        strategy: Which devices it runs on.
        schedule: How long it takes.
        start: What the network starts from; empty for random weights.
    """
    labels = ""
    if source.class_names is not None and source.labels is not None:
        labels = f"{len(source.class_names)} classes, used for the log alone"
    copied = f", copied to {config.backup_dir}" if config.backup_dir else ""
    end_of_start = "\n" if start else ""
    replicas = strategy.num_replicas_in_sync
    own = devices_of(strategy)
    devices = ", ".join(device.rpartition("device:")[2] for device in own)
    if len(own) < replicas:
        devices += f" of each of {replicas // len(own)} workers"
    with strategy.scope():
        if assembly.compiles_steps_of(config, schedule):
            devices += ", steps compiled by XLA (the first takes a minute)"
    return (
        f"Images:   {len(source):,} from {config.data_dir} ({labels or 'no labels'})\n"
        f"Network:  {config.arch}{' behind Sobel' if config.sobel else ''}, "
        f"width {config.width:g}, {num_weights:,} weights, {config.image_size} px\n"
        f"{start}{end_of_start}"
        f"{describe_clustering(config)}\n"
        f"Training: {schedule.epochs} epochs of {schedule.steps} steps of {config.batch_size} "
        f"images{f' on {replicas} replicas' if replicas > 1 else ''}\n"
        f"Devices:  network on {devices}; k-means on {kmeans_devices()}\n"
        f"{describe_settings(config)}\n"
        f"Run:      {config.run_dir}{copied}"
    )


def describe_clustering(config: TrainingConfig) -> str:
    """How many clusters there are, and what they are found in: a line."""
    most = "at most " if config.clustering == "pic" else ""
    kind = " whitened" if config.whiten else ""
    drawn = ", drawn towards neighbours" if config.diffusion_neighbours else ""
    last = f"; {config.final_clusters:,} at the end" if config.final_clusters else ""
    return (
        f"Clusters: {most}{config.num_clusters:,} by {config.clustering}, on "
        f"{config.pca_dim}{kind} dimensions{drawn}{last}"
    )


def describe_settings(config: TrainingConfig) -> str:
    """The settings that are not the paper's, and where they come from."""
    origins = config.origins()

    def listed(origin: str) -> str:
        found = [
            f"{name}={getattr(config, name)}"
            for name, came_from in origins.items()
            if came_from == origin and name not in ("mode", "data_dir", "run_dir", "backup_dir")
        ]
        return textwrap.fill(
            " ".join(found) or "nothing",
            width=100,
            initial_indent=" " * 10,
            subsequent_indent=" " * 10,
            break_on_hyphens=False,
        ).strip()

    lines = [f"Given:    {listed('given')}"]
    if config.mode != "paper":
        lines.insert(0, f"Mode:     {config.mode}, which sets {listed('mode')}")
    return "\n".join([*lines, "Paper's:  all else, see flags.cfg in the run's folder"])
