"""How long a run takes, worked out from what its parts took when they were tried."""

import dataclasses
import math

from dc_keras.assembly import Schedule
from dc_keras.config import TrainingConfig
from dc_keras.training.image_clustering import VIEWED_IMAGES


@dataclasses.dataclass(frozen=True)
class Measured:
    """What some of the images took.

    Attributes:
        start: Seconds until the first step: images are looked at, the network is compiled.
        epoch: Seconds that an epoch takes beside its steps: a new pipeline, a checkpoint.
        crop: Seconds of training by crop, with its reading.
        reading: Seconds of reading a crop, augmented.
        features: Seconds of features, by image.
        pca: Seconds of fitting PCA.
        search: Seconds of k-means or PIC, by image.
        feature_dim: Numbers in an image's features.
        weights: Bytes of the network in a file.
        resident: Bytes that the process took at most.
    """

    start: float
    epoch: float
    crop: float
    reading: float
    features: float
    pca: float
    search: float
    feature_dim: int
    weights: int
    resident: int


@dataclasses.dataclass(frozen=True)
class RunTime:
    """Where the time of a run goes, in seconds.

    Attributes:
        start: Before the first epoch.
        epochs: Their number.
        epoch: Of one, without clustering.
        clusterings: Their number, with that of the finished network.
        stages: Of one clustering, by stage.
    """

    start: float
    epochs: int
    epoch: float
    clusterings: int
    stages: dict[str, float]

    @property
    def clustering(self) -> float:
        """Of one clustering."""
        return sum(self.stages.values())

    @property
    def total(self) -> float:
        """Of all."""
        return self.start + self.epochs * self.epoch + self.clusterings * self.clustering

    def told(self) -> str:
        """The total and its parts, in a line."""
        parts = ", ".join(f"{name} {in_words(value)}" for name, value in self.stages.items())
        return (
            f"{in_words(self.total)}: {in_words(self.start)} to begin, {self.epochs} epochs of "
            f"{in_words(self.epoch)}, {self.clusterings} clusterings of "
            f"{in_words(self.clustering)} ({parts})"
        )


def run_time(config: TrainingConfig, num_images: int, measured: Measured) -> RunTime:
    """Works out how long a run takes.

    Args:
        config: Its settings.
        num_images: How many images it has.
        measured: What some of them took with these settings.
    """
    schedule = Schedule.of(config, num_images)
    stages = {
        # Those of a clustering, and views of some of them.
        "features": measured.features * (num_images + min(num_images, VIEWED_IMAGES)),
        "pca": measured.pca,
        config.clustering: measured.search * num_images,
    }
    return RunTime(
        start=measured.start,
        epochs=schedule.epochs,
        epoch=measured.crop * config.batch_size * schedule.steps + measured.epoch,
        # The images are clustered once more at the end.
        clusterings=num_clusterings(schedule.epochs, config.reassign) + 1,
        stages=stages,
    )


def num_clusterings(epochs: int, reassign: float) -> int:
    """In how many epochs `recluster.is_due`.

    >>> num_clusterings(8, reassign=2.5), num_clusterings(8, reassign=0.5)
    (3, 8)
    """
    reassign = max(reassign, 1.0)
    return len({math.ceil(turn * reassign) for turn in range(epochs)}.intersection(range(epochs)))


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(0.25), in_words(95), in_words(7260), in_words(400_000)
    ('0.2 s', '1.6 min', '2.0 h', '4.6 days')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
