"""The plots of a report, as far as it has their figures."""

import dataclasses

from dc_keras.evaluation import plots
from dc_keras.evaluation.class_table import confusion_matrix
from dc_keras.evaluation.confusion import confusion_figure
from dc_keras.evaluation.exhibits import Exhibit
from dc_keras.evaluation.layers import account as layers_account
from dc_keras.evaluation.layers.depth_plot import depth_plot
from dc_keras.evaluation.lowshot import SIZES
from dc_keras.evaluation.report import EvaluationReport

_AT_A_GLANCE = {
    "probe_conv5": "linear probe, conv5",
    "probe_fc7": "linear probe, fc7",
    "knn_fc7": "nearest neighbours, fc7",
    "nmi": "NMI of clusters",
}


def exhibits_of(report: EvaluationReport) -> list[Exhibit]:
    """Plots of what was measured, in the order of the tables."""
    rows, found = report.rows, []
    known = set().union(*rows.values()) if rows else set()
    if not known.isdisjoint(_AT_A_GLANCE):
        figure = plots.by_network(rows, _AT_A_GLANCE)
        glance = Exhibit.of_figure("At a glance", "Longer is better.", figure)
        found.append(dataclasses.replace(glance, comes_first=True))
    by_layer = layers_account.accuracies(rows)
    if by_layer:
        figure = depth_plot(by_layer, chance=1 / max(1, report.classes))
        note = "Accuracy on test images of linear probes, from the image to what is clustered."
        found.append(Exhibit.of_figure("Accuracy by depth", note, figure))
    if any(name.startswith("lowshot_fc7_") for name in known):
        figure = plots.by_number(
            rows,
            "lowshot_fc7_",
            SIZES,
            "labelled images of each class",
            chance=1 / max(1, report.classes),
        )
        note = "Accuracy of linear SVMs on fc7; bars are standard deviations over the draws."
        found.append(Exhibit.of_figure("How few labels are enough", note, figure))
    return found + _clusters_by_class(report)


def _clusters_by_class(report: EvaluationReport) -> list[Exhibit]:
    """Which classes the clusters of the run tell apart, of as many clusters as classes."""
    counts = report.class_counts()
    if counts is None:
        return []
    figure = confusion_figure(confusion_matrix(counts), report.class_names)
    if figure is None:
        return []
    note = (
        f"Test images of each class (rows) in the clusters that stand for each class (columns), of "
        f"{report.classes} clusters of the first seed, in per cent of the class."
    )
    return [Exhibit.of_figure("What is mixed up with what", note, figure)]
