import datetime
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from dc_keras.evaluation.report import EvaluationReport, library_versions

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
    report.add("trained", FIGURES)
    report.add("random", {"nmi": 0.02, "knn_fc7": np.float32(0.25)})
    return report


def test_terminal_table(report):
    text = report.to_terminal()
    lines = [line.split() for line in text.splitlines()]
    assert ["trained", *CELLS] in lines
    assert ["random", "0.020", "-", "-", "-", "-", "25.0%", "-", "-"] in lines


def test_terminal_fits_80_columns_and_is_aligned(report):
    report.add("supervised", FIGURES)
    text = report.to_terminal()
    assert max(map(len, text.splitlines())) <= 80
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 5
    assert len({len(line) for line in table}) == 1
    # A title ends over the last character of its figures.
    for row in (table[2], table[4]):
        assert row.index("%") == table[1].index("acc.") + len("acc.") - 1


def test_markdown_table(report):
    table = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [row[0] for row in cells] == ["network", "---", "trained", "random"]
    assert cells[2][1:] == CELLS
    assert {len(row) for row in cells} == {9}


def test_header_names_what_was_measured(report):
    for text in (report.to_terminal(), report.to_markdown()):
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
    method = report.to_markdown().split("## How it was measured")[1]
    for part in (
        "tested on /images/test",
        "20 training images of highest cosine similarity",
        "exp(s / 0.07)",
        "chosen from 0.0001, 0.001, 0.01, 0.1, 1 on 20% of the training images",
        "C chosen for the trained network: 0.001 for conv5, 0.1 for fc7.",
    ):
        assert part in method
    assert "the random network" not in method


def test_number_of_neighbors_is_the_one_used(report):
    report.train_images = 12
    assert "12 training images of highest cosine similarity" in report.to_markdown()


def test_json_keeps_all_digits(report):
    content = json.loads(report.to_json())
    assert content["rows"]["trained"] == FIGURES
    assert list(content["rows"]) == ["trained", "random"]
    assert content["seed"] == 31
    assert set(content["versions"]) == {"tensorflow", "keras", "faiss", "numpy"}


def test_date_is_now_in_utc(report):
    date = datetime.datetime.fromisoformat(report.date)
    assert date.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.UTC) - date) < datetime.timedelta(minutes=5)


def test_reports_do_not_share_rows(report):
    other = EvaluationReport("r", "d", 1, 1, 1, 1, 1, "s")
    assert other.rows == {} and len(report.rows) == 2


def test_write(report, tmp_path):
    path = report.write(tmp_path / "new" / "evaluation", "figures")
    assert path == tmp_path / "new" / "evaluation" / "figures.md"
    assert path.read_text(encoding="utf-8") == report.to_markdown()
    assert path.with_suffix(".json").read_text(encoding="utf-8") == report.to_json()
    assert sorted(p.name for p in path.parent.iterdir()) == ["figures.json", "figures.md"]


def test_write_replaces_an_older_report(report, tmp_path):
    report.write(tmp_path)
    report.add("supervised", FIGURES)
    assert "supervised" in report.write(tmp_path).read_text(encoding="utf-8")


def test_versions_without_importing_tensorflow():
    script = (
        "import sys\n"
        "from dc_keras.evaluation.report import library_versions\n"
        "print(library_versions()['numpy'], 'tensorflow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [np.__version__, "False"]
    assert "unknown" not in library_versions().values()
