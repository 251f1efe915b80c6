"""What a run would take, from a few steps on some of its images; nothing of it is written."""

import dataclasses
import math
import pathlib
import resource
import shutil
import sys
import tempfile
import time

import keras
import numpy as np

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.clustering.kmeans import nearest_centroids
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import TrainingConfig
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.labels import describe_labels
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.memory import free_memory
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.runs.checkpoints import write_weights
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import numpy_rng
from dc_keras.starting_weights import starting_network
from dc_keras.training.description import describe_run
from dc_keras.training.images import check_number_of_clusters
from dc_keras.training.recluster import is_due

# Enough for some batches; the first ones compile the network and are not counted.
_IMAGES, _STEPS, _WARM_UP = 2048, 12, 4
_POINTS, _COMPARED = 1024, 10_000


@dataclasses.dataclass(frozen=True)
class Measured:
    """What some of the images took.

    Attributes:
        step: Seconds of a training step.
        features: Seconds of features, by image.
        pca: Seconds of fitting PCA, by image that it is fitted on.
        search: Seconds of k-means or PIC, by image.
        feature_dim: Numbers in an image's features.
        weights: Bytes of the network in a file.
        resident: Bytes that the process took at most.
    """

    step: float
    features: float
    pca: float
    search: float
    feature_dim: int
    weights: int
    resident: int


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
    strategy = assembly.prepare_devices(config)
    starting = starting_network(config, RunDirectory(config.run_dir), strategy)
    source = open_source(config.data_dir, config.labels, assembly.pixel_options(config))
    check_number_of_clusters(config.num_clusters, len(source))
    schedule = Schedule.of(config, len(source))
    with strategy.scope():
        model = assembly.build_trainer(config, schedule, starting.network)
    measured = measure(config, source, model)
    description = describe_run(
        config, source, model.count_params(), strategy, schedule, starting.told
    )
    told = [*source.findings.lines(), *describe_labels(source, config.labels), description]
    return "\n".join([*told, *estimate(config, len(source), schedule, measured)])


def measure(config: TrainingConfig, source: ImageSource, model: DeepCluster) -> Measured:
    """Runs each stage on some images."""
    rng = numpy_rng(config.seed, "dry run")
    chosen = np.sort(rng.permutation(len(source))[:_IMAGES])
    readable, _ = leave_out_unreadable(
        source.select(chosen), config.max_bad_fraction, progress=sys.stderr.isatty()
    )
    some = SourceWithStandIns(
        readable, readable.names, config.max_bad_fraction, report=lambda reasons: None
    )
    step = _seconds_of_step(config, some, model, rng)
    features, seconds = _features(config, some, model)
    started = time.monotonic()
    fit_whitening(features, min(config.pca_dim, len(features)), whiten=config.whiten)
    pca = (time.monotonic() - started) / len(features)
    with tempfile.TemporaryDirectory() as scratch:
        write_weights(pathlib.Path(scratch) / "weights", model, 0)
        weights = sum(path.stat().st_size for path in pathlib.Path(scratch).rglob("*.npz"))
    return Measured(
        step=step,
        features=seconds,
        pca=pca,
        search=_seconds_of_search(assembly.clustering_options(config), len(source), rng),
        feature_dim=features.shape[1],
        weights=weights,
        resident=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


class _Clock(keras.callbacks.Callback):
    """Notes when batches are done."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())


def _seconds_of_step(
    config: TrainingConfig, some: SourceWithStandIns, model: DeepCluster, rng: np.random.Generator
) -> float:
    batches = assembly.training_batches(config, some, Schedule(epochs=1, steps=_STEPS))
    batches.sampler.set_labels(rng.integers(config.num_clusters, size=len(some), dtype=np.int32))
    batches.sampler.begin_epoch(config.seed, 0)
    clock = _Clock()
    model.fit(batches.dataset(), shuffle=False, callbacks=[clock], verbose=0)
    counted = clock.times[_WARM_UP:]
    return (counted[-1] - counted[0]) / (len(counted) - 1)


def _features(
    config: TrainingConfig, some: SourceWithStandIns, model: DeepCluster
) -> tuple[np.ndarray, float]:
    """Features of the images, and the seconds that an image took behind the first batch."""
    extractor = FeatureExtractor(feature_model(model, FEATURES))
    batches = ordered_batches(
        some,
        np.arange(len(some)),
        image_size=config.image_size,
        # Several batches, so that one can be left out.
        batch_size=min(config.batch_size, max(1, len(some) // 4)),
    )
    found, times = [], []
    for features in extractor(batches):
        found.append(features)
        times.append(time.monotonic())
    behind_first = max(1, sum(map(len, found[1:])))
    return np.concatenate(found), (times[-1] - times[0]) / behind_first


def _seconds_of_search(
    options: ClusteringOptions, num_images: int, rng: np.random.Generator
) -> float:
    """Seconds that an image takes in a clustering: nearly all is the search for what is nearest."""
    compared, passes = options.num_clusters, options.kmeans.iterations + 1
    if options.method == "pic":
        compared, passes = num_images, 1
    elif 0 < options.kmeans.two_level_from <= compared:
        compared = 2 * math.isqrt(compared)
    tried = min(compared, _COMPARED)
    points = rng.normal(size=[_POINTS, options.pca_dim]).astype(np.float32)
    centroids = rng.normal(size=[tried, options.pca_dim]).astype(np.float32)
    nearest_centroids(points, centroids)
    started = time.monotonic()
    nearest_centroids(points, centroids)
    return (time.monotonic() - started) / _POINTS * passes * compared / tried


def estimate(
    config: TrainingConfig, num_images: int, schedule: Schedule, measured: Measured
) -> list[str]:
    """Time, memory and disk of a run, a line each.

    Args:
        config: The settings.
        num_images: How many images the run would have.
        schedule: Of the run.
        measured: What some of them took.
    """
    in_pca = min(num_images, config.pca_images)
    stages = {
        "features": measured.features * num_images,
        "pca": measured.pca * in_pca,
        config.clustering: measured.search * num_images,
    }
    reassign = max(config.reassign, 1.0)
    # The images are clustered once more at the end.
    clusterings = sum(is_due(epoch, reassign) for epoch in range(schedule.epochs)) + 1
    epoch, clustering = measured.step * schedule.steps, sum(stages.values())
    total = schedule.epochs * epoch + clusterings * clustering
    parts = ", ".join(f"{name} {_seconds(value)}" for name, value in stages.items())
    memory = measured.resident + 4 * (
        num_images * config.pca_dim + 2 * in_pca * measured.feature_dim
    )
    free = free_memory()
    # Weights and the momentum of each.
    checkpoint = 2 * measured.weights
    assignments = clusterings * num_images * (1 if config.num_clusters <= 256 else 2)
    disk = config.keep_checkpoints * checkpoint + measured.weights + assignments
    place = pathlib.Path(config.run_dir)
    while not place.exists():
        place = place.parent
    room = shutil.disk_usage(place).free
    return [
        f"Time:     {_seconds(total)}: {schedule.epochs} epochs of {_seconds(epoch)}, "
        f"{clusterings} clusterings of {_seconds(clustering)} ({parts})",
        f"Memory:   {memory / 1e9:.1f} GB; {free.bytes / 1e9:.1f} GB {free.told}",
        f"Disk:     {disk / 1e6:,.0f} MB, {config.keep_checkpoints} checkpoints of "
        f"{checkpoint / 1e6:,.0f} MB among them; {room / 1e9:,.0f} GB free",
        "Nothing was written. Without --dry_run the run begins.",
    ]


def _seconds(seconds: float) -> str:
    """A time as people say it.

    >>> _seconds(0.25), _seconds(95), _seconds(7260), _seconds(400_000)
    ('0.2 s', '1.6 min', '2.0 h', '4.6 days')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
