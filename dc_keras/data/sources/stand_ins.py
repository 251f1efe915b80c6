"""Images that vanish or turn unreadable while a run goes on, and the images that stand in for them.

A run of days outlives some of its files: somebody tidies up, a disk loses a sector. Every image
keeps its index, so that assignments, manifest and draws stay what they were, but an index whose
image is gone gives another image of the same cluster from then on.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import find_unreadable
from dc_keras.errors import InputError

NAMES_SHOWN = 10
GONE = "not found when the run went on"

# Images to look at around one that could not be read: where one is gone, others often are too.
LOOK_AHEAD = 1024

# What reading or decoding an image can raise.
READ_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


class SourceWithStandIns(ImageSource):
    """A source that goes on without images that cannot be read any more.

    Args:
        source: The images as they are found now.
        names: Names of all images of the run.
        max_gone_fraction: Largest fraction of them that may be missing.
        report: Called with the reason by name for images that were found to be gone.

    Attributes:
        gone: The reason for each index whose image cannot be read.

    Raises:
        InputError: If too many of `names` are not in `source`.
    """

    def __init__(
        self,
        source: ImageSource,
        names: Sequence[str],
        max_gone_fraction: float,
        report: Callable[[Mapping[str, str]], None],
    ):
        place = {name: position for position, name in enumerate(source.names)}
        places = np.array([place.get(name, -1) for name in names], np.int64)
        super().__init__(names, None, source.class_names)
        self.read_with(source.options)
        self._source = source
        self._max_gone_fraction = max_gone_fraction
        self._report = report
        self.gone: dict[int, str] = {}
        self._clusters = np.zeros(len(names), np.int32)
        self._lose(dict.fromkeys(np.flatnonzero(places < 0).tolist(), GONE))
        with tf.device("CPU:0"):
            self._places = tf.Variable(places, trainable=False)
        self._stand_in()
        if source.labels is not None:
            self.labels = source.labels[self._places.numpy()]

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads an image or what stands in for it; see `ImageSource.load`."""
        return self._source.load(tf.gather(self._places, index))

    def _some(self, keep: np.ndarray) -> ImageSource:
        """The source of some of the images or their stand-ins; see `ImageSource.select`."""
        return self._source.select(self._places.numpy()[keep])

    def set_clusters(self, clusters: np.ndarray) -> None:
        """Takes the latest clusters, int32 `(n,)`: stand-ins come from the same one if they can."""
        self._clusters = clusters

    def replace_unreadable(self, indices: np.ndarray) -> bool:
        """Looks at images of which one could not be read, and replaces those that cannot.

        Args:
            indices: Images that were about to be read. When all of them can be read, all images of
                the run are looked at.

        Returns:
            Whether some were found; else the error must have come from elsewhere, or has passed.

        Raises:
            InputError: If by now too many images of the run are gone.
        """
        places = self._places.numpy()
        for candidates in (np.unique(indices), np.arange(len(self))):
            readable = np.setdiff1d(candidates, list(self.gone))
            found = find_unreadable(self._source.select(places[readable]), progress=False)
            if found:
                reasons = {int(readable[position]): why for position, why in found.items()}
                self._lose(reasons)
                self._stand_in()
                return True
        return False

    def _lose(self, reasons: dict[int, str]) -> None:
        """Counts images as gone and reports them."""
        if not reasons:
            return
        self.gone |= reasons
        count, total = len(self.gone), len(self.names)
        if count > self._max_gone_fraction * total or count == total:
            shown = "".join(
                f"\n  {self.names[index]}: {self.gone[index]}"
                for index in sorted(self.gone)[:NAMES_SHOWN]
            )
            more = f"\n  and {count - NAMES_SHOWN:,} more" if count > NAMES_SHOWN else ""
            raise InputError(
                f"Images of the run are gone. Received: {count:,} of {total:,} ({count / total:.1%}"
                f") that cannot be read. Expected: at most {self._max_gone_fraction:.1%} "
                f"(--max_bad_fraction={self._max_gone_fraction:g}). Put them back and start the "
                f"same command again, or start a new --run_dir:{shown}{more}"
            )
        self._report({self.names[index]: why for index, why in reasons.items()})

    def _stand_in(self) -> None:
        """Gives every image that is gone the next readable one of its cluster, or of all."""
        if not self.gone:
            return
        gone = np.array(sorted(self.gone))
        readable = np.setdiff1d(np.arange(len(self)), gone)
        places = self._places.numpy()
        for index in gone:
            alike = readable[self._clusters[readable] == self._clusters[index]]
            choices = alike if len(alike) else readable
            places[index] = places[choices[np.searchsorted(choices, index) % len(choices)]]
        self._places.assign(places)


class ReadingOn:
    """Lets work that reads images go on after one that cannot be read, from where it had come to.

    Args:
        source: Whose images are read.
    """

    def __init__(self, source: SourceWithStandIns):
        self._source = source
        self._failed_at: Any = None

    @contextlib.contextmanager
    def past_errors(
        self, place: Callable[[], Any], upcoming: Callable[[], np.ndarray]
    ) -> Iterator[None]:
        """Ends its block in peace when an image could not be read; the caller begins it again.

        Args:
            place: Tells how far the work has come.
            upcoming: Tells the images that were about to be read, integers `(m,)`.

        Raises:
            InputError: If by now too many images of the run are gone.
            tf.errors.OpError: If work has failed at the same place before, with no image to blame.
        """
        try:
            yield
        except READ_ERRORS:
            # What cannot be found again may have passed: a network drive that was busy.
            if not self._source.replace_unreadable(upcoming()) and self._failed_at == place():
                raise
            self._failed_at = place()
