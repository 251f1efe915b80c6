"""The page of a report, as it is written."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dc_keras.evaluation.exhibits import Exhibit
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.page import to_html
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.showing import exhibits_of

FIGURES = {
    **{"nmi": 0.3, "knn_fc7": 0.5, "probe_fc7": 0.6, "probe_conv5": 0.7},
    **{"lowshot_fc7_1": 0.2, "lowshot_fc7_1_sd": 0.01, "lowshot_fc7_2": 0.3},
    **{"layer_relu1": 0.4, "layer_relu1_dim": 9, "layer_relu1_c": 1, "layer_relu1_validation": 0.4},
    **{"layer_fc7": 0.6, "layer_fc7_dim": 4, "layer_fc7_c": 1, "layer_fc7_validation": 0.5},
}


@pytest.fixture
def report():
    report = EvaluationReport(
        run_dir="/runs/<b>&\udcff",
        data_dir="/images",
        train_images=8,
        test_images=4,
        classes=2,
        num_clusters=3,
        seed=31,
        split="tested on /test",
        tasks=("clusters", "knn", "linear", "layers", "lowshot"),
        class_names=("cat", "d|og"),
        test_labels=np.array([0, 0, 1, 1]),
    )
    report.add("trained", Measured(FIGURES, {"clusters_classes": np.array([0, 1, 1, 1])}))
    report.add("random", Measured({**FIGURES, "probe_fc7": 0.5}))
    report.add("patches", Measured({"probe_fc7": 0.61}))
    report.add("supervised", Measured({"probe_fc7": 0.9}))
    return report


class Elements(HTMLParser):
    """All elements that were opened, and whether each was closed."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_whole_and_needs_no_other_file(report):
    picture = np.zeros((4, 6, 3), np.uint8)
    exhibits = [*exhibits_of(report), Exhibit.of_picture("A sheet", "of nothing", picture)]
    page = to_html(report, exhibits)
    elements = Elements(page)
    assert elements.open == []
    tags = [tag for tag, _ in elements.seen]
    assert "script" not in tags and "link" not in tags
    sources = [attrs["src"] for tag, attrs in elements.seen if tag == "img"]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    # At a glance, accuracy by depth, few labels, what is mixed up.
    assert tags.count("svg") == 4


def test_names_are_text_and_no_markup(report):
    page = to_html(report)
    assert "/runs/&lt;b&gt;&amp;\ufffd" in page and "/runs/<b>" not in page
    page.encode("utf-8")
    assert "<tr><th>d|og</th>" in page


def test_the_best_of_a_column_is_marked_but_not_what_learned_from_labels(report):
    page = to_html(report)
    assert re.findall(r'<td class="best">(61.0%)', page) == ["61.0%"]
    assert '<td class="best">90.0%' not in page


def test_what_needs_no_network_and_is_better_is_said_first(report):
    told = "Patches, which need no network, are better in fc7 probe (61.0% against 60.0%)."
    page = to_html(report)
    assert told in page and page.index(told) < page.index("<table>")


def test_equal_reports_have_equal_plots(report):
    for one, other in zip(exhibits_of(report), exhibits_of(report), strict=True):
        assert strip_ids(one.image) == strip_ids(other.image)


def strip_ids(svg):
    """Matplotlib draws the names of clipping paths at random."""
    return re.sub(r"(id=\"|url\(#|href=\"#)[0-9a-z_]+", r"\1", svg)
