import dataclasses
import datetime
import json

import keras
import numpy as np
import pytest

from dc_keras.evaluation.lowshot import SIZES
from dc_keras.evaluation.measured import REMARKS, Measured
from dc_keras.evaluation.page import to_html
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.text import to_markdown, to_terminal
from dc_keras.evaluation.writing import write_report

FIGURES = {
    "nmi": 0.31234,
    "ari": -0.0126,
    "accuracy": 0.3512,
    "purity": 0.4,
    "knn_conv5": 0.5555,
    "knn_fc7": 0.51,
    "probe_conv5": 0.6049,
    "probe_fc7": 1.0,
    "probe_conv5_c": 0.001,
    "probe_fc7_c": 0.1,
}
CELLS = ["0.312", "-0.013", "35.1%", "40.0%", "55.5%", "51.0%", "60.5%", "100.0%"]


@pytest.fixture
def report():
    report = EvaluationReport(
        run_dir="/runs/a",
        data_dir="/images/train",
        train_images=8000,
        test_images=2000,
        classes=10,
        num_clusters=100,
        seed=31,
        split="tested on /images/test",
    )
    report.add("trained", Measured(FIGURES))
    report.add("random", Measured({"nmi": 0.02, "knn_fc7": np.float32(0.25)}))
    return report


def test_terminal_table(report):
    text = to_terminal(report)
    lines = [line.split() for line in text.splitlines()]
    assert ["trained", *CELLS] in lines
    assert ["random", "0.020", "-", "-", "-", "-", "25.0%", "-", "-"] in lines


def test_terminal_fits_80_columns_and_is_aligned(report):
    report.add("random, calibrated", Measured(FIGURES))
    text = to_terminal(report)
    assert max(map(len, text.splitlines())) <= 80
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 5
    assert len({len(line) for line in table}) == 1
    # A title ends over the last character of its figures.
    for row in (table[2], table[4]):
        assert row.index("%") == table[1].index("acc.") + len("acc.") - 1


MEANS = ("nmi_classes", "nmi_arithmetic_classes", "ari_classes", "accuracy_classes")
MORE = {
    "nmi_arithmetic": 0.29,
    **dict.fromkeys((*MEANS, "purity_classes"), 0.25),
    **{f"{name}_sd": 0.011 for name in (*MEANS, "purity_classes")},
    **{f"knn_fc7_{number}": number / 1000 for number in (10, 100, 200)},
    **{f"lowshot_fc7_{size}": size / 100 for size in SIZES},
    **{f"lowshot_fc7_{size}_sd": 0.001 for size in SIZES},
}


def test_further_tables_have_deviations_and_fit_80_columns(report):
    report.add("random, calibrated", Measured(FIGURES | MORE))
    text = to_terminal(report)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines()]
    for cells in (
        ["0.290", "0.250", "0.250", "0.250", "25.0%", "25.0%"],
        ["1.0%", "51.0%", "10.0%", "20.0%"],
        ["1.0%", "2.0%", "4.0%", "8.0%", "16.0%", "32.0%", "64.0%", "96.0%"],
    ):
        assert ["random,", "calibrated", *cells] in lines
    assert ["±0.1%"] * 8 in lines
    assert "NMI, k = 100" in text and "NMI, k = 10 " in text
    markdown = to_markdown(report)
    assert "| 0.290 | 0.250 ±0.011 |" in markdown and "| 96.0% ±0.1% |" in markdown


def test_tables_without_figures_are_left_out(report):
    report.rows = {"given": {"knn_fc7": 0.5}}
    report.tasks = ("knn",)
    for text in (to_terminal(report), to_markdown(report)):
        assert not any(word in text for word in ("NMI", "probe", "ow-shot", "classes (k"))
    report.rows, report.tasks = {"given": {"lowshot_fc7_1": 0.5}}, ("lowshot",)
    assert "chosen from 0.01, 0.1, 1, 10 for each number of images on 20%" in to_markdown(report)


def test_markdown_table(report):
    table = [line for line in to_markdown(report).splitlines() if line.startswith("|")][:4]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [row[0] for row in cells] == ["network", "---", "trained", "random"]
    assert cells[2][1:] == CELLS
    assert {len(row) for row in cells} == {9}


TRAINED = {"probe_fc7": 0.925, "probe_conv5": 0.9, "knn_fc7": 0.7, "nmi": 0.6}
UNTOUCHED = {"probe_fc7": 0.866, "probe_conv5": 0.9, "knn_fc7": 0.71, "nmi": 0.5}
FITTED = {"probe_fc7": 0.577, "probe_conv5": 0.8, "knn_fc7": 0.6, "nmi": 0.55}


def compared(report, **rows):
    report.rows = {name.replace("_", ", "): figures for name, figures in rows.items()}
    return report.headline()


def test_the_headline_is_against_the_stronger_of_the_random_networks(report):
    assert compared(report, trained=TRAINED, random=UNTOUCHED, random_calibrated=FITTED) == [
        "The trained network is better than both random networks in fc7 probe, NMI; "
        "not better in conv5 probe, fc7 k-NN.",
        "fc7 probe 92.5% against 86.6% (random, the stronger of the two)",
        "conv5 probe 90.0% against 90.0% (random, the stronger of the two)",
        "fc7 k-NN 70.0% against 71.0% (random, the stronger of the two)",
        "NMI 0.600 against 0.550 (random, calibrated, the stronger of the two)",
    ]
    for text in (to_terminal(report), to_markdown(report)):
        words = " ".join(text.split())
        assert all(line in words for line in report.headline())


def test_a_headline_for_networks_that_are_better_in_all_or_nothing(report):
    better, worse = {"nmi": 0.6, "knn_fc7": 0.5}, {"nmi": 0.5, "knn_fc7": 0.4}
    sentence, *_ = compared(report, trained=better, random=worse, random_calibrated=worse)
    assert sentence == "The trained network is better than both random networks in all figures."
    sentence, *_ = compared(report, trained=worse, random=worse, random_calibrated=better)
    assert sentence == "The trained network is not better than both random networks in any figure."


def test_one_random_network_is_no_choice_of_two(report):
    """As in reports that were written before there were two."""
    sentence, line = compared(report, trained={"nmi": 0.6}, random={"nmi": 0.5})
    assert sentence == "The trained network is better than the random network in all figures."
    assert line == "NMI 0.600 against 0.500 (random)"


def test_without_a_random_network_there_is_no_headline(report):
    assert compared(report, trained=TRAINED, supervised=UNTOUCHED) == []
    assert "random" not in to_terminal(report) + to_markdown(report)


def test_what_is_to_be_known_of_the_images_is_said(report):
    report.remarks = ("30 new images are not part of this run.",)
    for text in (to_terminal(report), to_markdown(report)):
        assert "30 new images are not part of this run." in " ".join(text.split())


def test_what_is_found_out_while_a_network_searches_is_said_once(report):
    for network in ("trained", "random"):
        report.add(network, Measured(details={REMARKS: ["9 images were filled up with grey."]}))
    for text in (to_terminal(report), to_markdown(report), to_html(report)):
        assert " ".join(text.split()).count("9 images were filled up with grey.") == 1


def test_copies_of_training_images_are_said(report):
    assert "No test image is a copy or near copy." in to_markdown(report)
    assert "training image," not in to_terminal(report)
    report.copies, report.near_copies = 12, 5
    exact = "12 of 2,000 test images have the centre crop of a training image, pixel by pixel: pr"
    near = "5 others of 2,000 test images have a near copy among the training images, such as"
    for text in (to_terminal(report), to_markdown(report)):
        assert exact in " ".join(text.split()) and near in " ".join(text.split())
    report.copies = 0
    assert "5 of 2,000 test images have a near copy" in " ".join(to_terminal(report).split())


def test_markdown_says_what_calibrated_is(report):
    report.calibration = "22 batches of 64 training images"
    assert "Calibrated" not in to_markdown(report)
    report.add("random, calibrated", Measured(FIGURES))
    assert "averaged over 22 batches of 64 training images" in to_markdown(report)


def test_header_names_what_was_measured(report):
    for text in (to_terminal(report), to_markdown(report)):
        words = " ".join(text.split())
        for part in (
            "/runs/a",
            "/images/train",
            "8,000 training and 2,000 test images",
            "10 classes",
            "100 clusters",
            "seed 31",
            "tested on /images/test",
            report.date,
            f"keras {keras.__version__}",
        ):
            assert part in words


def test_markdown_says_how_it_was_measured(report):
    method = to_markdown(report).split("## How it was measured")[1]
    for part in (
        "tested on /images/test",
        "20 training images of highest cosine similarity",
        "exp(s / 0.07)",
        "chosen from 0.0001, 0.001, 0.01, 0.1, 1 on 20% of the training images",
        "C chosen for the trained network: 0.001 for conv5, 0.1 for fc7.",
    ):
        assert part in method
    assert "for the random network" not in method


def test_markdown_says_where_the_weights_are_that_it_started_from(report):
    assert "Init:" not in to_markdown(report)
    report = dataclasses.replace(report, start="/weights.pth")
    assert "- Init: the network that the run started from, with weights of `/weights.pth` as" in (
        to_markdown(report)
    )


@pytest.mark.parametrize(
    ("whitened", "method", "says"),
    [
        (True, "kmeans", "are whitened and put into 100 clusters as in training."),
        (False, "kmeans", "are reduced by PCA, not whitened, and put into 100 clusters as in"),
        (True, "pic", "whitened and put into 100 clusters by k-means, and not by --clustering=pic"),
    ],
)
def test_what_is_said_of_the_clusters_is_what_was_done(report, whitened, method, says):
    report.whitened, report.training_method = whitened, method
    assert says in to_markdown(report)
    words = " ".join(to_terminal(report).split())
    assert ("100 clusters of k-means" in words) == (method == "pic")


def test_number_of_neighbors_is_the_one_used(report):
    report.train_images = 12
    assert "12 training images of highest cosine similarity" in to_markdown(report)


def test_json_keeps_all_digits(report):
    content = json.loads(report.to_json())
    assert content["rows"]["trained"] == FIGURES
    assert list(content["rows"]) == ["trained", "random"]
    assert content["seed"] == 31
    assert set(content["versions"]) == {"dc_keras", "tensorflow", "keras", "faiss", "numpy"}


def test_date_is_now_in_utc(report):
    date = datetime.datetime.fromisoformat(report.date)
    assert date.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.UTC) - date) < datetime.timedelta(minutes=5)


def test_reports_do_not_share_rows(report):
    other = EvaluationReport("r", "d", 1, 1, 1, 1, 1, "s")
    assert other.rows == {} and len(report.rows) == 2


def test_write(report, tmp_path):
    path = write_report(report, tmp_path / "new" / "evaluation", "figures")
    assert path == tmp_path / "new" / "evaluation" / "figures.md"
    assert path.read_text(encoding="utf-8") == to_markdown(report)
    assert path.with_suffix(".json").read_text(encoding="utf-8") == report.to_json()
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "figures.html",
        "figures.json",
        "figures.md",
        "outcomes.npz",
    ]


def test_write_replaces_an_older_report(report, tmp_path):
    write_report(report, tmp_path)
    report.add("supervised", Measured(FIGURES))
    assert "supervised" in write_report(report, tmp_path).read_text(encoding="utf-8")
