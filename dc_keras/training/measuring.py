"""Tries each part of a run on some of its images, to know what it takes; nothing is kept."""

import dataclasses
import math
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np

from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.clustering.centroids import nearest_centroids
from dc_keras.clustering.nearest_images import comparisons
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import TrainingConfig
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.pipelines import READERS
from dc_keras.data.sources.decoded import DECODED_SHARE, hold_decoded
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import inspect, leave_out_unreadable
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.memory import free_memory
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.runs.checkpoints import write_weights
from dc_keras.seeds import numpy_rng
from dc_keras.training.run_time import Measured

_POINTS, _COMPARED = 1024, 10_000
# Features that PCA is tried on, at most: those of 32,768 images at width 0.25.
_PCA_NUMBERS = 1 << 25
_ENOUGH_SECONDS = 5
# Batches beyond the last step, more than a pipeline holds ready: reading would else end before
# the steps do, whereas in a run it goes on beside them.
_READ_AHEAD = READERS + 8


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        images: Images whose features are computed.
        steps: Training steps.
        warm_up: Of these, the first ones, which are not counted: they compile the network.
        seconds: After which no further step or batch is begun, if some were counted.
    """

    images: int = 2048
    steps: int = 12
    warm_up: int = 4
    seconds: float = math.inf


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some images of a run, and what was seen of them.

    Attributes:
        images: Those that can be read, as the run will read them: decoded in memory where all
            would be.
        sizes: Their heights and widths in pixels, integers (m, 2).
        readable: Part of those looked at that can be read.
        opening: Seconds that an image takes before the run begins.
    """

    images: SourceWithStandIns
    sizes: np.ndarray
    readable: float
    opening: float


def take_sample(
    config: TrainingConfig, source: ImageSource, count: int, max_bad_fraction: float
) -> Sample:
    """Looks at some random images of a source.

    Args:
        config: The settings.
        source: The images.
        count: How many are looked at, at most.
        max_bad_fraction: Largest part of them that may be unreadable.

    Raises:
        InputError: If more are.
    """
    order = numpy_rng(config.seed, "dry run").permutation(len(source))[:count]
    few = order[: max(1, len(order) // 8)]
    started = time.monotonic()
    inspect(source.select(np.sort(few)), progress=False)
    inspected = time.monotonic()
    readable, seen = leave_out_unreadable(
        source.select(np.sort(order)), max_bad_fraction, progress=sys.stderr.isatty()
    )
    # Without what it takes to begin, which a few images take as well.
    took = (time.monotonic() - inspected) - (inspected - started)
    opening = max(0.0, took) / max(1, len(order) - len(few))
    sizes = seen.of_readable().sizes
    needed = 3 * float(sizes.prod(axis=1, dtype=np.int64).mean()) * len(source)
    fits = needed <= free_memory().bytes * DECODED_SHARE and not config.deterministic
    if config.cache == "ram" or (config.cache == "auto" and fits):
        readable, _ = hold_decoded(readable, "auto", ".", seed=config.seed, progress=False)
        # Decoded once to see whether they can be read, and once to be held.
        opening *= 2
    some = SourceWithStandIns(
        readable, readable.names, config.max_bad_fraction, report=lambda reasons: None
    )
    return Sample(some, sizes, len(readable) / len(order), opening)


def measure(config: TrainingConfig, num_images: int, sample: Sample, effort: Effort) -> Measured:
    """Runs each stage on some images; call it in the scope of the strategy.

    Where XLA would compile the step of the run, the run is faster than this tells.

    Args:
        config: The settings.
        num_images: How many images the run would have.
        sample: Those that are tried.
        effort: How much is tried.
    """
    some = sample.images
    rng = numpy_rng(config.seed, "dry run")
    # Compiling a step by XLA would take longer than all tries.
    config = dataclasses.replace(config, xla="off")
    started = time.monotonic()
    model = assembly.build_trainer(config, Schedule.of(config, num_images))
    first_step, step = _seconds_of_steps(config, some, model, effort)
    begun = time.monotonic() - started - first_step
    opening, reading = _seconds_of_reading(config, some)
    features, feature_dim = _seconds_of_features(config, some, model, effort)
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        write_weights(pathlib.Path(scratch) / "weights", model, 0)
        written = time.monotonic() - started
        weights = sum(path.stat().st_size for path in pathlib.Path(scratch).rglob("*.npz"))
    in_pca = min(num_images, config.pca_images)
    return Measured(
        start=begun + sample.opening * num_images,
        # Weights and the momentum of each are kept.
        epoch=opening + 2 * written,
        crop=step / config.batch_size,
        reading=reading,
        features=features,
        pca=_seconds_of_pca(in_pca, feature_dim, config, rng),
        search=_seconds_of_search(assembly.clustering_options(config), num_images, rng),
        feature_dim=feature_dim,
        weights=weights,
        resident=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


class _Clock(keras.callbacks.Callback):
    """Notes when batches are done, and ends the training when there was enough of it."""

    def __init__(self, effort: Effort):
        super().__init__()
        self._effort = effort
        self.times: list[float] = []

    @property
    def counted(self) -> list[float]:
        """The times from which steps are counted on."""
        return self.times[self._effort.warm_up :]

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())
        counted = self.counted
        enough = len(counted) > 1 and counted[-1] - counted[0] > self._effort.seconds
        if enough and self.model is not None:
            self.model.stop_training = True


def _seconds_of_steps(
    config: TrainingConfig, some: SourceWithStandIns, model: DeepCluster, effort: Effort
) -> tuple[float, float]:
    """Seconds from the first step that is done to the last one, and of a step."""
    batches = _batches(config, some, effort.steps + _READ_AHEAD)
    clock = _Clock(effort)
    model.fit(
        batches.dataset(),
        steps_per_epoch=effort.steps,
        shuffle=False,
        callbacks=[clock],
        verbose=0,
    )
    counted = clock.counted
    step = (counted[-1] - counted[0]) / (len(counted) - 1)
    return clock.times[-1] - clock.times[0], step


def _batches(config: TrainingConfig, some: SourceWithStandIns, steps: int) -> TrainingBatches:
    rng = numpy_rng(config.seed, "dry run labels")
    batches = assembly.training_batches(config, some, Schedule(epochs=1, steps=steps))
    batches.sampler.set_labels(rng.integers(config.num_clusters, size=len(some), dtype=np.int32))
    batches.sampler.begin_epoch(config.seed, 0)
    return batches


def _seconds_of_reading(config: TrainingConfig, some: SourceWithStandIns) -> tuple[float, float]:
    """Seconds until a new pipeline gives its first batch, and those of a crop behind it."""
    # The next ones are on their way when the first is there.
    steps = max(4, 512 // config.batch_size)
    started = time.monotonic()
    times = [time.monotonic() for _ in _batches(config, some, steps).dataset()]
    crops = config.batch_size * (len(times) - 1)
    return times[0] - started, (times[-1] - times[0]) / crops


def _seconds_of_features(
    config: TrainingConfig, some: SourceWithStandIns, model: DeepCluster, effort: Effort
) -> tuple[float, int]:
    """Seconds of an image behind the first batch, and the numbers in its features."""
    extractor = FeatureExtractor(feature_model(model, FEATURES))
    count = min(len(some), effort.images)
    batches = ordered_batches(
        some,
        np.arange(count),
        image_size=config.image_size,
        # Several batches, so that one can be left out.
        batch_size=min(config.batch_size, max(1, count // 4)),
    )
    sizes, times = [], []
    for features in extractor(batches):
        sizes.append(len(features))
        times.append(time.monotonic())
        if times[-1] - times[0] > effort.seconds:
            break
    return (times[-1] - times[0]) / max(1, sum(sizes[1:])), features.shape[1]


def _seconds_of_pca(
    count: int, feature_dim: int, config: TrainingConfig, rng: np.random.Generator
) -> float:
    tried = min(count, max(1, _PCA_NUMBERS // feature_dim))
    features = rng.standard_normal(size=[tried, feature_dim], dtype=np.float32)
    dim = min(config.pca_dim, tried)
    return _seconds(lambda: fit_whitening(features, dim, whiten=config.whiten)) * count / tried


def _seconds_of_search(
    options: ClusteringOptions, num_images: int, rng: np.random.Generator
) -> float:
    """Seconds that an image takes in a clustering: nearly all is the search for what is nearest."""

    def search_among(others: float) -> float:
        tried = int(min(others, _COMPARED))
        points = rng.normal(size=[_POINTS, options.pca_dim]).astype(np.float32)
        centroids = rng.normal(size=[tried, options.pca_dim]).astype(np.float32)
        taken = _seconds(lambda: nearest_centroids(points, centroids))
        return taken / _POINTS * others / tried

    if options.method == "pic":
        return search_among(num_images)
    centroids = options.num_clusters
    if 0 < options.kmeans.two_level_from <= centroids:
        centroids = 2 * math.isqrt(centroids)
    starts = options.kmeans.starts_for(options.num_clusters)
    taken = starts * (options.kmeans.iterations + 1) * search_among(centroids)
    if options.neighbours:
        taken += search_among(comparisons(num_images))
    return taken


def _seconds(work: Callable[[], object]) -> float:
    """What something takes, in the middle of some tries: one may have waited for others."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < _ENOUGH_SECONDS:
        started = time.monotonic()
        work()
        times.append(time.monotonic() - started)
    return float(np.median(times))
