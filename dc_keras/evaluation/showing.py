"""The plots of a report, as far as it has their figures."""

import dataclasses

from dc_keras.evaluation import plots
from dc_keras.evaluation.exhibits import Exhibit
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
    return found
