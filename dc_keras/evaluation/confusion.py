"""Which classes are in each other's clusters, as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

# A picture of more classes cannot be read; cells of more have no numbers.
MAX_CLASSES, MAX_NUMBERED = 50, 20


def confusion_figure(confusion: np.ndarray, class_names: Sequence[str]) -> Figure | None:
    """A picture of the matrix, each row in parts of its class; None of more than 50 classes."""
    count = len(class_names)
    if count > MAX_CLASSES:
        return None
    parts = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    most = float(parts.max()) or 1.0
    side = 2.2 + max(0.2 * count, 2.4)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    panel = figure.subplots()
    drawn = panel.imshow(parts, cmap="Blues", vmin=0, vmax=most)
    short = [name if len(name) <= 18 else f"{name[:17]}…" for name in class_names]
    size = 9 if count <= MAX_NUMBERED else 7
    panel.set_xticks(range(count), short, rotation=90, fontsize=size)
    panel.set_yticks(range(count), short, fontsize=size)
    panel.set_xlabel("class of the cluster")
    panel.set_ylabel("class of the image")
    panel.tick_params(length=0)
    if count <= MAX_NUMBERED:
        for i, j in np.argwhere(parts >= 0.005):
            colour = "white" if parts[i, j] > 0.5 * most else "black"
            text = f"{100 * parts[i, j]:.0f}"
            panel.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(drawn, ax=panel, shrink=0.7, format="{x:.0%}", label="part of the class")
    return figure
