"""Tables of the probes of all layers, and how they were measured."""

from collections.abc import Mapping

from dc_keras.evaluation.layers.measure import PREFIX, layers_of
from dc_keras.evaluation.linear_probe import C_GRID, MAX_POOLED_SIZE, VALIDATION_FRACTION
from dc_keras.evaluation.tables import Column, Rows, Table


def tables(rows: Rows) -> list[Table]:
    """A table with a line for each layer and a column for each network.

    Args:
        rows: Figures by network.

    Returns:
        The table, or none where no layers were probed.
    """
    layers = list(dict.fromkeys(layer for row in rows.values() for layer in layers_of(row)))
    if not layers:
        return []
    columns = [Column(f"{PREFIX}{layer}", "layer", layer, ".1%") for layer in layers]
    return [Table(columns, "Linear probes of all layers", "All layers", transposed=True)]


def accuracies(rows: Rows) -> dict[str, dict[str, float]]:
    """Accuracy by layer, by network, as `depth_plot` takes it."""
    found = {
        network: {layer: one["accuracy"] for layer, one in layers_of(row).items()}
        for network, row in rows.items()
    }
    return {network: row for network, row in found.items() if row}


def method(figures: Mapping[str, float]) -> list[str]:
    """How the layers were probed, as lines of Markdown.

    Args:
        figures: Of a network, whose layers are told.
    """
    layers = layers_of(figures)
    if not layers:
        return []
    sizes = ", ".join(f"{layer} {one['dim']:,.0f}" for layer, one in layers.items())
    return [
        "- Linear probes of all layers: multinomial logistic regression on standardised features, "
        "of convolutions after their ReLU, average-pooled to about "
        f"{MAX_POOLED_SIZE:,} values at most (at 224 pixels by the published pools), of fc6 and "
        f"fc7 before theirs. Values an image: {sizes}. C of {C_GRID} is chosen for each layer on "
        f"{VALIDATION_FRACTION:.0%} of the training images of each class, from the smallest on "
        "until one is worse than the best by more than a standard error; the test images are "
        "looked at once, by the final probe."
    ]
