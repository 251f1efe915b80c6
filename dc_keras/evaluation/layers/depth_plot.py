"""Accuracy by depth, as a picture."""

import math
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dc_keras.evaluation.plots import COLOURS, MARKS, without_frame


def depth_plot(rows: Mapping[str, Mapping[str, float]], chance: float) -> Figure:
    """Draws the accuracy of each network's layers.

    Args:
        rows: Accuracy in [0, 1] by layer, from the image on, by network. A network may lack layers.
        chance: Accuracy of a guess: the part of the largest class, or one by the number of classes.

    Returns:
        A figure with a line for each network, the legend beside, and a line at chance.

    >>> figure = depth_plot({"trained": {"relu1": 0.4, "fc7": 0.6}}, chance=0.1)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['trained', 'chance']
    """
    layers = list(dict.fromkeys(layer for row in rows.values() for layer in row))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, (network, row) in enumerate(rows.items()):
        axes.plot(
            range(len(layers)),
            [row.get(layer, math.nan) for layer in layers],
            label=network,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKS[number % len(MARKS)],
            # Of more networks than colours, those of the second round are dashed.
            linestyle=("-", "--", ":")[number // len(COLOURS) % 3],
            markersize=5,
        )
    axes.axhline(chance, color="#666666", linewidth=1, linestyle=(0, (2, 2)), label="chance")
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
    axes.set_xlabel("layer, from the image on")
    axes.set_ylabel("accuracy of a linear probe")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    without_frame(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
