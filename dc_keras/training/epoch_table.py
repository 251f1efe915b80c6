"""The terminal while a run goes on: a row an epoch, and within an epoch a bar on a terminal.

    epoch   loss smallest largest views rank features   pca kmeans   train     left
     1/12  3.401        2     134   29%  4.7     1.9s  0.2s   0.1s    5.1s  0:01:32

`smallest` and `largest` count the images of clusters, `views` are augmented views known again,
`rank` is the effective rank of the features, then come the seconds of each stage and the time that
is left. What an epoch does not have, such as a clustering, stays empty.
"""

import datetime
import sys
import time
from collections.abc import Mapping, Sequence

import keras
from tqdm import tqdm

from dc_keras.training.turn import Turn

# The heading is repeated after so many rows, which is less than a window.
_ROWS = 20


class EpochTable(keras.callbacks.Callback):
    """Prints a row an epoch.

    Args:
        epochs: Keras epochs of the run.
        method: What clusters, as its seconds are called: "kmeans" or "pic".
    """

    def __init__(self, epochs: int, method: str):
        super().__init__()
        self._epochs = epochs
        self._widths = _columns(epochs, method)
        self._bar: tqdm | None = None
        self._turn: Turn
        self._started = 0.0
        self._seconds: list[float] = []
        self._clusterings: list[float] = []

    def begin_turn(self, turn: Turn) -> None:
        """Takes what the epoch begins with, and starts to measure its time."""
        self._turn = turn
        if clustering := _seconds_of_clustering(turn):
            self._clusterings.append(sum(clustering.values()))
        # An epoch that a file which vanished has cut off begins again.
        self._close_bar()
        self._bar = tqdm(
            total=self.params["steps"],
            desc=f"epoch {turn.epoch + 1}/{self._epochs}",
            unit="step",
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self._close_bar()
        seconds, turn = time.monotonic() - self._started, self._turn
        clustering = _seconds_of_clustering(turn)
        self._seconds.append(seconds + sum(clustering.values()))
        left = time_left(self._seconds, self._clusterings, self._epochs - epoch - 1)
        if (len(self._seconds) - 1) % _ROWS == 0:
            print(" ".join(name.rjust(width) for name, width in self._widths.items()))
        cells = {
            "epoch": f"{epoch + 1}/{self._epochs}",
            "loss": f"{logs['loss']:.3f}",
            **clusters_in_cells(turn.figures if turn.clustered else {}),
            **{name: f"{value:.1f}s" for name, value in {**clustering, "train": seconds}.items()},
            "left": str(datetime.timedelta(seconds=round(left))),
        }
        row = (cells.get(name, "").rjust(width) for name, width in self._widths.items())
        print(" ".join(row), flush=True)

    def on_train_end(self, logs=None):
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _seconds_of_clustering(turn: Turn) -> Mapping[str, float]:
    """What the stages took that the epoch began with here; nothing where it had begun before."""
    return turn.seconds if turn.clustered and not turn.taken_up else {}


def _columns(epochs: int, method: str) -> dict[str, int]:
    """Names of the columns and how wide they are: 79 together where epochs have two digits."""
    return {
        "epoch": max(5, 2 * len(str(epochs)) + 1),
        "loss": 6,
        "smallest": 8,
        "largest": 7,
        "views": 5,
        "rank": 4,
        "features": 8,
        "pca": 5,
        method: 6,
        "train": 7,
        "left": 8,
    }


def clusters_in_cells(figures: Mapping[str, float]) -> dict[str, str]:
    """What a row shows of a clustering.

    Args:
        figures: Its figures by name; empty where an epoch begins without one.

    >>> clusters_in_cells({"smallest": 2, "largest": 1340, "effective_rank": 4.66})
    {'smallest': '2', 'largest': '1,340', 'rank': '4.7'}
    """
    cells = {name: f"{figures[name]:,}" for name in ("smallest", "largest") if name in figures}
    if "views_retrieved" in figures:
        cells["views"] = f"{figures['views_retrieved']:.0%}"
    if "effective_rank" in figures:
        cells["rank"] = f"{figures['effective_rank']:.1f}"
    return cells


def time_left(seconds: Sequence[float], clusterings: Sequence[float], epochs_left: int) -> float:
    """How long a run will go on.

    Args:
        seconds: What each epoch so far took, its clustering included; at least one.
        clusterings: What each clustering so far took.
        epochs_left: Epochs that are to come. The images are clustered once more at the end.

    Returns:
        Seconds. The first epoch compiles the network, and counts only while it is the only one.

    >>> time_left([30, 10, 14], [4, 2], epochs_left=5)
    62.0
    """
    usual = seconds[1:] or seconds
    return sum(usual) / len(usual) * epochs_left + (clusterings[-1] if clusterings else 0.0)
