"""A table and plots of trials: mean and spread over seeds."""

import pathlib
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

_FIGURES = {
    "probe_conv5": "probe conv5, %",
    "probe_fc7": "probe fc7, %",
    "knn_conv5": "k-NN conv5, %",
    "knn_fc7": "k-NN fc7, %",
    "nmi": "NMI(labels)",
    "nmi_previous": "NMI(t, t-1)",
}


def write_report(trials: Sequence[dict], names: Sequence[str], out: pathlib.Path) -> None:
    """Writes table.md, features.png and stability.png.

    Args:
        trials: Lines of trials.jsonl.
        names: Configurations, in the order to show them.
        out: Folder to write to.
    """
    by_name = {name: [trial for trial in trials if trial["name"] == name] for name in names}
    by_name = {name: found for name, found in by_name.items() if found}
    lines = [
        f"| configuration | {' | '.join(_FIGURES.values())} |",
        f"|---|{'---:|' * len(_FIGURES)}",
    ]
    for name, found in by_name.items():
        cells = [_cell(values(found, figure), figure) for figure in _FIGURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    seeds = max(len(found) for found in by_name.values())
    lines.append(f"\nMean and standard deviation over {seeds} seeds.")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    _plot(by_name, ["probe_conv5", "probe_fc7", "knn_conv5", "knn_fc7"], out / "features.png")
    _plot(by_name, ["nmi", "nmi_previous"], out / "stability.png")


def values(trials: Sequence[dict], figure: str) -> np.ndarray:
    """One figure of some trials; accuracies in percent. Empty where there is none."""
    if figure == "nmi_previous":
        last = [trial["epochs"][-1]["cluster"] for trial in trials if trial["epochs"]]
        return np.array([cluster[figure] for cluster in last if figure in cluster])
    scale = 1 if figure == "nmi" else 100
    return scale * np.array([trial["figures"][figure] for trial in trials])


def _cell(found: np.ndarray, figure: str) -> str:
    if not len(found):
        return "-"
    digits = 3 if figure.startswith("nmi") else 1
    spread = f" ± {found.std(ddof=1):.{digits}f}" if len(found) > 1 else ""
    return f"{found.mean():.{digits}f}{spread}"


def _plot(by_name: dict[str, list[dict]], figures: Sequence[str], path: pathlib.Path) -> None:
    """One panel a figure: a dot a seed, a bar for their mean."""
    height = 0.6 + 0.28 * len(by_name)
    columns = min(2, len(figures))
    rows = -(-len(figures) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(9, rows * height), sharey=True, squeeze=False)
    places = np.arange(len(by_name))[::-1]
    for axis, figure in zip(axes.flat, figures, strict=True):
        for place, found in zip(places, by_name.values(), strict=True):
            one = values(found, figure)
            if len(one):
                axis.plot(one, np.full(len(one), place), "o", color="tab:blue", alpha=0.6)
                axis.plot([one.mean()], [place], "|", color="black", markersize=14)
        axis.set_title(_FIGURES[figure], fontsize=10)
        axis.set_yticks(places, list(by_name))
        axis.grid(axis="x", alpha=0.4)
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)
