"""Signs that the features collapse or the clusters mean nothing, in plain language.

A run can look well for days while it learns nothing: the loss falls fastest when all images have
the same pseudo-label. What tells is the clustering: how evenly the images spread over it, how many
directions the features have, and whether clusters and features last from one turn to the next.
"""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from absl import logging

from dc_keras.errors import DegenerateDataError
from dc_keras.training.turn import Turn

# Even spread over all clusters is 1. Whatever real data were tried stayed above 0.8.
ENTROPY_FLOOR = 0.5
# Features that vary along a single direction have 1. Random networks have 4 and more.
RANK_FLOOR = 1.5
# Independent random clusterings share few images beyond chance, which matching finds.
CHURN_CEILING, CHURN_TURNS = 0.95, 3
# Of the rate at which the network found images again by another view of them in its second
# clustering. In the first its batch norm has statistics of no images, 0 and 1, and what they find
# is lost in the first steps of any training: 12 % became 3 % with a learning rate of 1e-9. A run
# that starts from weights has better ones, 19 % then 16 %, but perhaps random layers behind them.
RETRIEVAL_DROP = 0.5


def signs_of_collapse(
    reports: Sequence[Mapping[str, float]],
    max_cluster_fraction: float,
    *,
    mode: str = "paper",
    sampler: str = "natural",
) -> dict[str, str]:
    """Looks for collapse in the figures of the clusterings so far.

    Args:
        reports: Figures of each clustering by name, as `clustering_figures` gives them, that of
            the network before its first step first; at least one.
        max_cluster_fraction: Largest part of the images that one cluster should hold. Twice the
            mean size is always allowed.
        mode: Of the run; remedies do not name what is in use.
        sampler: Of the run.

    Returns:
        What is wrong and what helps, by cause: "cluster", "entropy", "rank", "churn", "views".
    """
    signs = {}
    uniform = "" if sampler == "uniform" else "--sampler=uniform, "
    improved = "" if mode == "improved" else "--mode=improved, or "
    latest = reports[-1]
    allowed = max(max_cluster_fraction, 2 / latest["clusters"])
    if latest["largest_fraction"] > allowed:
        signs["cluster"] = (
            f"One cluster holds {latest['largest_fraction']:.0%} of the images, more than "
            f"--max_cluster_fraction={max_cluster_fraction:g}. Use {uniform}a lower "
            "--learning_rate, or look whether that many images are alike."
        )
    if latest["normalized_entropy"] < ENTROPY_FLOOR:
        signs["entropy"] = (
            "The images crowd in few clusters: the entropy of the sizes is "
            f"{latest['normalized_entropy']:.0%} of that of even ones, below {ENTROPY_FLOOR:.0%}. "
            "Use a smaller --num_clusters, or look for duplicate images."
        )
    if latest["effective_rank"] < RANK_FLOOR:
        signs["rank"] = (
            f"The features have hardly more than one direction: effective rank "
            f"{latest['effective_rank']:.2f}, below {RANK_FLOOR}. The network tells images by one "
            f"thing alone, such as their brightness. Use {improved}a lower --learning_rate."
        )
    recent = [report["churn"] for report in reports[-CHURN_TURNS:] if "churn" in report]
    if len(recent) == CHURN_TURNS and min(recent) > CHURN_CEILING:
        signs["churn"] = (
            f"The clusters are new ones each time: for {CHURN_TURNS} clusterings more than "
            f"{CHURN_CEILING:.0%} of the images have changed theirs. There is nothing lasting to "
            "learn. Use a smaller --num_clusters, or a lower --learning_rate."
        )
    trained = (r["views_retrieved"] for r in reports[1:] if "views_retrieved" in r)
    first = next(trained, None)
    now = latest.get("views_retrieved")
    if now is not None and first is not None and now < RETRIEVAL_DROP * first:
        signs["views"] = (
            f"The features lose the images: only {now:.0%} of them are found again by an augmented "
            f"view, after {first:.0%} in the second clustering. Use {improved}a lower "
            "--learning_rate."
        )
    return signs


def check_loss(loss: float, place: str) -> None:
    """Ends a run whose loss is not finite: no step could ever mend its weights.

    Args:
        loss: Mean over the epoch so far.
        place: The epoch and step, for the message.

    Raises:
        DegenerateDataError: If it is not.
    """
    if not math.isfinite(loss):
        raise DegenerateDataError(_diverged(f"a loss of {loss}", place))


def check_weights(model: keras.Model, place: str) -> None:
    """Keeps weights that are not finite from being saved in place of good ones.

    Args:
        model: The trainer.
        place: The epoch and step, for the message.

    Raises:
        DegenerateDataError: Names the first variable with NaN or infinity.
    """
    for variable in model.weights:
        if not np.isfinite(variable.numpy()).all():
            raise DegenerateDataError(_diverged(f"NaN or infinity in {variable.path}", place))


def _diverged(what: str, place: str) -> str:
    return (
        f"The training has diverged. Received: {what} at {place}. Expected finite numbers. The "
        "checkpoints before are good: start from one of them with --resume=PATH, a new --run_dir "
        "and a lower --learning_rate."
    )


class CollapseGuard:
    """Warns of collapse once for each cause, or ends the run.

    Args:
        earlier: Figures of the clusterings that the run goes on from, by epoch from 0.
        max_cluster_fraction: See `signs_of_collapse`.
        stop: Whether to end the run instead of warning.
        mode: See `signs_of_collapse`.
        sampler: See `signs_of_collapse`.
    """

    def __init__(
        self,
        earlier: Mapping[int, Mapping[str, float]],
        *,
        max_cluster_fraction: float,
        stop: bool,
        mode: str = "paper",
        sampler: str = "natural",
    ):
        self._figures = dict(earlier)
        self._max_cluster_fraction = max_cluster_fraction
        self._stop = stop
        self._in_use = {"mode": mode, "sampler": sampler}
        self._warned: set[str] = set()

    def begin_turn(self, turn: Turn) -> None:
        """Looks at the clustering that an epoch begins with.

        Raises:
            DegenerateDataError: If it shows signs of collapse and the run is to end then.
        """
        if not turn.clustered:
            return
        self._figures[turn.epoch] = turn.figures
        in_order = [self._figures[epoch] for epoch in sorted(self._figures)]
        signs = signs_of_collapse(in_order, self._max_cluster_fraction, **self._in_use)
        if signs and self._stop:
            raise DegenerateDataError(
                f"Stopped at the beginning of epoch {turn.epoch + 1}, as --on_collapse=stop says: "
                f"{' '.join(signs.values())} The same command with --on_collapse=warn goes on."
            )
        for cause in signs.keys() - self._warned:
            self._warned.add(cause)
            logging.warning("Epoch %d: %s", turn.epoch + 1, signs[cause])
