"""Plots of a report's figures."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dc_keras.evaluation.tables import Rows

# Told apart by all kinds of eyes: Okabe and Ito 2008, "Color Universal Design", without yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKS = "osD^vPX"


def by_network(rows: Rows, figures: Mapping[str, str]) -> Figure:
    """Figures of all networks beside each other: a panel for each, a bar for each network.

    Args:
        rows: Figures by network.
        figures: Titles of panels by the name of a figure, each from 0 to 1.
    """
    shown = [key for key in figures if any(key in row for row in rows.values())]
    figure = Figure(figsize=(9, 0.7 + 0.3 * len(rows)), layout="constrained")
    panels = figure.subplots(1, max(1, len(shown)), sharey=True, squeeze=False)[0]
    names = list(rows)
    for panel, key in zip(panels, shown, strict=False):
        values = [rows[name].get(key) for name in names]
        colours = [COLOURS[0] if place == 0 else "#9aa5b1" for place in range(len(names))]
        panel.barh(names, [value or 0.0 for value in values], color=colours, height=0.68)
        best = max((value for value in values if value is not None), default=1.0)
        for place, value in enumerate(values):
            text = "-" if value is None else f"{value:.3f}" if "nmi" in key else f"{value:.1%}"
            panel.text((value or 0.0) + 0.02 * best, place, text, va="center", fontsize=8)
        panel.set_title(figures[key], fontsize=10)
        panel.set_xlim(0, 1.28 * best or 1)
        panel.set_xticks([])
        without_frame(panel)
        panel.tick_params(length=0)
        panel.spines["bottom"].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def by_number(
    rows: Rows, stem: str, numbers: Sequence[int], label: str, chance: float | None = None
) -> Figure:
    """Accuracies over a number, a line for each network, with deviations where there are some.

    Args:
        rows: Figures by network.
        stem: Figures have this and a number as their name.
        numbers: From left to right.
        label: What the number is of.
        chance: Accuracy of guessing.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panel = figure.subplots()
    known = [number for number in numbers if any(f"{stem}{number}" in row for row in rows.values())]
    for place, (name, row) in enumerate(rows.items()):
        mine = [number for number in known if f"{stem}{number}" in row]
        if not mine:
            continue
        panel.errorbar(
            mine,
            [row[f"{stem}{number}"] for number in mine],
            yerr=[row.get(f"{stem}{number}_sd", 0.0) for number in mine],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKS[place % len(MARKS)],
            markersize=5,
            linewidth=1.6,
            capsize=2,
            label=name,
        )
    if chance is not None:
        panel.axhline(chance, color="#888", linewidth=1, linestyle=":", label="chance")
    panel.set_xscale("log")
    panel.set_xticks(known, [str(number) for number in known])
    panel.minorticks_off()
    panel.set_xlabel(label)
    panel.set_ylabel("accuracy")
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    panel.set_axisbelow(True)
    without_frame(panel)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def without_frame(panel: Axes) -> None:
    """Takes away the lines above and to the right of a plot, which tell nothing."""
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
