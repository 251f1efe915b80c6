"""Tables and plots of trials: mean and spread over seeds, curves over compute, and indicators."""

import csv
import pathlib
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

from tools.write_tables import REPOSITORY, read_csv

_FIGURES = {
    "probe_best": "probe best layer, %",
    "knn_best": "k-NN best layer, %",
    "probe_conv5": "probe conv5, %",
    "probe_fc7": "probe fc7, %",
    "knn_conv5": "k-NN conv5, %",
    "knn_fc7": "k-NN fc7, %",
    "nmi": "NMI(labels)",
    "nmi_previous": "NMI(t, t-1)",
}
# What training knows without labels at its end, and what it might foretell.
INDICATORS = (
    "views_retrieved",
    "views_same_cluster",
    "effective_rank",
    "nmi_previous",
    "churn",
    "normalized_entropy",
    "seeds_agree",
)
# Clusters against labels, which the curves show beside the accuracies. There are more clusters than
# classes, so that their accuracy is that of the commonest class of each.
_CLUSTERS = {"nmi": "NMI(labels)", "ari": "ARI(labels)", "purity": "purity of clusters, %"}
# What is not shown in percent.
_BARE = ("nmi", "ari")
_FORETOLD = ("probe_best", "probe_conv5", "probe_fc7", "knn_fc7")


def write_report(trials: Sequence[dict], names: Sequence[str], out: pathlib.Path) -> None:
    """Writes table.md, learning.csv, indicators.md, features.png, stability.png and curves.png.

    Args:
        trials: Lines of trials.jsonl.
        names: Configurations, in the order to show them.
        out: Folder to write to.
    """
    by_name = {name: [trial for trial in trials if trial["name"] == name] for name in names}
    by_name = {name: found for name, found in by_name.items() if found}
    # Trials of before the harness measured every depth have no best layer.
    figures = {
        name: title
        for name, title in _FIGURES.items()
        if any(len(values(found, name)) for found in by_name.values())
    }
    lines = [f"| configuration | {' | '.join(figures.values())} |"]
    lines.append(f"|---|{'---:|' * len(figures)}")
    for name, found in by_name.items():
        cells = [_cell(values(found, figure), figure) for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    seeds = max(len(found) for found in by_name.values())
    lines.append(f"\nMean and standard deviation over {seeds} seeds.")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    _write_rows(by_name, out / "learning.csv")
    accuracies = [figure for figure in figures if not figure.startswith("nmi")]
    _plot(by_name, accuracies, out / "features.png")
    _plot(
        by_name, [figure for figure in figures if figure.startswith("nmi")], out / "stability.png"
    )
    titles = {figure: _FIGURES[figure] for figure in accuracies} | _CLUSTERS
    _plot_curves(by_name, titles, out / "curves.png")
    (out / "indicators.md").write_text(indicator_table(trials))


def _write_rows(by_name: dict[str, list[dict]], path: pathlib.Path) -> None:
    """Writes rows for docs/data/learning.csv; what trials do not know is left to fill in."""
    columns, _ = read_csv(REPOSITORY / "docs" / "data" / "learning.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for name, found in by_name.items():
            row = {"configuration": name, "seeds": len(found)}
            for figure in _FIGURES:
                mean, _, spread = _cell(values(found, figure), figure).partition(" ± ")
                row |= {figure: mean.strip("-"), f"{figure}_spread": spread}
            writer.writerow(row)


def values(trials: Sequence[dict], figure: str) -> np.ndarray:
    """One figure of some trials; accuracies in percent. Empty where there is none."""
    if figure in INDICATORS:
        known = [known_without_labels(trial) for trial in trials]
        return np.array([indicators[figure] for indicators in known if figure in indicators])
    found = [trial["figures"][figure] for trial in trials if figure in trial["figures"]]
    return _scale(figure) * np.array(found)


def _scale(figure: str) -> int:
    return 1 if figure in _BARE else 100


def known_without_labels(trial: dict) -> dict:
    """What tells how a training went, from its last clustering, in whichever epoch that was."""
    clusterings = [epoch["cluster"] for epoch in trial["epochs"] if epoch["cluster"]]
    if not clusterings:
        return {}
    # What needs a clustering more than a training does, the trial finds at its end.
    judged = {name: trial["figures"][name] for name in INDICATORS if name in trial["figures"]}
    return clusterings[-1] | judged


def indicator_table(trials: Sequence[dict]) -> str:
    """How well each indicator ranks the trained trials as their probes do, as Markdown.

    Args:
        trials: Of one data set; those that were not trained are left out.

    Returns:
        A table of Spearman's rank correlations: 1 for the same order, -1 for the reverse one.
    """
    lines = [f"| rank correlation with | {' | '.join(_FORETOLD)} | trials |"]
    lines.append(f"|---|{'---:|' * len(_FORETOLD)}---:|")
    for indicator in INDICATORS:
        known = [trial for trial in trials if indicator in known_without_labels(trial)]
        cells = []
        for figure in _FORETOLD:
            both = [t for t in known if figure in t["figures"]]
            pairs = values(both, indicator), values(both, figure)
            varied = len(both) > 2 and all(np.ptp(one) > 0 for one in pairs)
            cells.append(f"{scipy.stats.spearmanr(*pairs).statistic:.2f}" if varied else "-")
        lines.append(f"| {indicator} | {' | '.join(cells)} | {len(known)} |")
    return "\n".join(lines) + "\n"


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


def _plot_curves(
    by_name: dict[str, list[dict]], titles: dict[str, str], path: pathlib.Path
) -> None:
    """One panel a figure: its mean over seeds against the compute that was spent.

    A network that was not trained is a line across.
    """
    columns = 3
    rows = -(-len(titles) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(12, 2.6 * rows), sharex=True, squeeze=False)
    for axis, (figure, title) in zip(axes.flat, titles.items(), strict=False):
        for name, found in by_name.items():
            at = {}
            for point in (point for trial in found for point in trial.get("curve", [])):
                # Trials of before it was counted know the images alone.
                compute = point.get("compute", point["images"])
                at.setdefault(compute, []).append(point["figures"].get(figure, np.nan))
            means = [_scale(figure) * np.mean(at[compute]) for compute in sorted(at)]
            if list(at) == [0]:
                axis.axhline(means[0], color="grey", linestyle="--", label=name)
            else:
                axis.plot(sorted(at), means, "o-", label=name, markersize=3)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.4)
    for axis in list(axes.flat)[len(titles) :]:
        axis.remove()
    fig.supxlabel(
        "compute, in images trained on; one whose features are extracted counts a third",
        fontsize=10,
    )
    axes[0, 0].legend(fontsize=7)
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)
