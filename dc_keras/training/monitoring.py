"""What a run writes while it goes on: log.txt, metrics.jsonl and TensorBoard.

The training loss of DeepCluster says little, since its targets change. Whether the method works is
seen in how stable the clusters are from one epoch to the next (NMI), how even their sizes are, and
what they look like: hence the mosaics.
"""

import time
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.pixels.grid import grid
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.files import explain_write_errors, tensorflow_errors_as_os_errors
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import numpy_rng
from dc_keras.training.dashboard import health_first, settings_of_run
from dc_keras.training.turn import Turn

# Mosaics show this many clusters with this many images each.
_MOSAIC_CLUSTERS, _MOSAIC_IMAGES = 8, 10
_THUMBNAIL = 64
# Pictures are written at most about this often in a run, so that event files stay small.
_PICTURES_PER_RUN = 20


class Monitor(keras.callbacks.Callback):
    """Writes figures and pictures of each epoch.

    Args:
        run: Where to write.
        source: The images, for mosaics.
        batches: The training pipeline, for a look at augmented images.
        image_size: Side of the network's input in pixels.
        epochs: Number of Keras epochs of the run.
        batch_size: Training images in a step.
        seed: The run's seed.
    """

    def __init__(
        self,
        run: RunDirectory,
        source: SourceWithStandIns,
        batches: tf.data.Dataset,
        *,
        image_size: int,
        epochs: int,
        batch_size: int,
        seed: int,
    ):
        super().__init__()
        self._run = run
        self._source = source
        self._batches = batches
        self._image_size = image_size
        self._epochs = epochs
        self._batch_size = batch_size
        self._seed = seed
        with explain_write_errors(run.tensorboard), tensorflow_errors_as_os_errors():
            self._writer = tf.summary.create_file_writer(str(run.tensorboard))
        self._turn: Turn
        self._pictured: int | None = None
        self._started = 0.0

    def begin_turn(self, turn: Turn) -> None:
        """Tells what an epoch begins with, and starts to measure its time."""
        self._turn = turn
        if turn.clustered and not turn.taken_up:
            self._run.log(describe(turn))
        every = max(1, self._epochs // _PICTURES_PER_RUN)
        if turn.epoch % every == 0 and turn.epoch != self._pictured:
            self._write_pictures(turn)
            if turn.epoch == 0:
                self._write_dashboard()
            self._pictured = turn.epoch
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        seconds, turn = time.monotonic() - self._started, self._turn
        record = {
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
            "images_per_second": self.params["steps"] * self._batch_size / seconds,
            "seconds": {"train": seconds},
            "cluster": dict(turn.figures),
        }
        if self._source.gone:
            record["images_gone"] = len(self._source.gone)
        if turn.clustered:
            record["seconds"] = {**turn.seconds, **record["seconds"]}
        self._run.append_metrics(record)
        self._write_scalars(record, turn)

    def close(self) -> None:
        """Finishes the event file."""
        self._writer.close()

    def _write_scalars(self, record: dict, turn: Turn) -> None:
        names = {
            "loss": "train/loss",
            "accuracy": "train/accuracy_on_pseudo_labels",
            "learning_rate": "train/learning_rate",
            "images_per_second": "train/images_per_second",
        }
        with self._writer.as_default(step=record["epoch"]):
            for name, tag in names.items():
                tf.summary.scalar(tag, record[name])
            if "images_gone" in record:
                tf.summary.scalar("images_gone", record["images_gone"])
            for group in ("cluster", "seconds"):
                for name, value in record[group].items():
                    tf.summary.scalar(f"{group}/{name}", value)
            if turn.clustered:
                tf.summary.histogram("cluster/sizes", turn.clusters.sizes)
        self._writer.flush()

    def _write_dashboard(self) -> None:
        # Of the first epoch, so that it is forgotten and written again with that.
        with self._writer.as_default(step=1):
            for summary in (health_first(), settings_of_run(self._run.config())):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString())

    def _write_pictures(self, turn: Turn) -> None:
        epoch = turn.epoch + 1
        images, *_ = next(iter(self._batches))
        with self._writer.as_default(step=epoch):
            tf.summary.image("augmented batch", tile(images.numpy()[:40], 10)[None])
            if any(layer.name == "sobel" for layer in self.model.layers):
                gradients = self.model.get_layer("sobel")(
                    self.model.get_layer("normalize")(images[:40])
                )
                tf.summary.image("sobel", tile(gradients_as_pictures(gradients.numpy()), 10)[None])
            if turn.clustered:
                mosaic = cluster_mosaic(
                    self._source,
                    turn.shown_assignments,
                    image_size=self._image_size,
                    rng=numpy_rng(self._seed, "mosaic", epoch),
                )
                tf.summary.image("clusters, the same ones through time", mosaic[None])
        self._writer.flush()


def describe(turn: Turn) -> str:
    """One line for the log about the clustering that an epoch begins with."""
    return f"Clustering {turn.epoch + 1}: {describe_clusters(turn.figures, turn.seconds)}"


def describe_clusters(figures: Mapping[str, float], seconds: Mapping[str, float]) -> str:
    """What is known of a clustering, in a line.

    Args:
        figures: By name, as of `clustering_figures` and those beside them.
        seconds: Time of each stage.
    """
    parts = [
        f"{figures['clusters']} clusters of {figures['smallest']} to "
        f"{figures['largest']} images (largest {figures['largest_fraction']:.1%})"
    ]
    if figures["empty_before_repair"]:
        parts.append(
            f"{figures['empty_before_repair']} were empty and {figures['empty']} still are"
        )
    if "nmi_previous" in figures:
        parts.append(f"NMI with the last {figures['nmi_previous']:.3f}")
    if "views_retrieved" in figures:
        parts.append(f"{figures['views_retrieved']:.0%} of augmented views retrieved")
    parts.append(f"features of effective rank {figures['effective_rank']:.1f}")
    if "nmi_labels" in figures:
        parts.append(f"NMI with the labels {figures['nmi_labels']:.3f}")
    parts.append(", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
    return "; ".join(parts)


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images `(n, h, w, c)` out in rows, as thumbnails of similar size; gaps stay white."""
    step = max(1, -(-images.shape[1] // _THUMBNAIL))
    enlarge = max(1, _THUMBNAIL // images.shape[1])
    images = images[:, ::step, ::step].repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    frame = [(0, 0), (1, 1), (1, 1), (0, 0)]
    return grid(np.pad(images, frame, constant_values=255), columns)


def gradients_as_pictures(gradients: np.ndarray) -> np.ndarray:
    """Gradient magnitude `(n, h, w, 2)` as grey pictures, uint8 `(n, h, w, 1)`."""
    magnitude = np.linalg.norm(gradients, axis=-1, keepdims=True)
    # The border responds to the zero padding, far above the rest: let it saturate.
    top = np.percentile(magnitude, 98) or 1.0
    return np.minimum(magnitude / top * 255, 255).astype(np.uint8)


def cluster_mosaic(
    source: ImageSource, assignments: np.ndarray, *, image_size: int, rng: np.random.Generator
) -> np.ndarray:
    """A picture with some clusters as rows of random members.

    Args:
        source: The images.
        assignments: Cluster of each image by the number it is shown under, integers `(n,)`.
        image_size: Side of the centre crops in pixels, before they are shrunk.
        rng: Draws the members.

    Returns:
        uint8 `(height, width, 3)`: rows in the order of the clusters' numbers, evenly chosen, so
        that mosaics of later turns show what became of the same clusters.
    """
    numbers = np.unique(assignments)
    picks = np.linspace(0, len(numbers) - 1, min(_MOSAIC_CLUSTERS, len(numbers))).astype(int)
    rows = [
        rng.permutation(np.flatnonzero(assignments == number))[:_MOSAIC_IMAGES]
        for number in numbers[picks]
    ]
    shown = np.concatenate(rows)
    crops = ordered_batches(source, shown, image_size=image_size, batch_size=len(shown))
    cells = np.full((len(rows), _MOSAIC_IMAGES, image_size, image_size, 3), 255, np.uint8)
    filled = np.arange(_MOSAIC_IMAGES) < [[len(row)] for row in rows]
    cells[filled] = next(crops.as_numpy_iterator())
    return tile(cells.reshape(-1, image_size, image_size, 3), _MOSAIC_IMAGES)
