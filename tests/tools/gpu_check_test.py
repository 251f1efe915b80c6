"""The check of a GPU, at its tiny sizes, on whatever this machine has."""

import csv
import json
import subprocess
import sys

import pytest

from marks import LONG
from repository import REPOSITORY
from tools.gpu_check import PARTS


def check(folder, *arguments, timeout=600):
    """Runs the check; returns the finished process."""
    return subprocess.run(
        [sys.executable, "tools/gpu_check.py", "--quick", f"--out={folder}", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def figures(folder):
    """What was measured, by part."""
    results = json.loads((folder / "results.json").read_text())
    return {part: [row["figure"] for row in rows] for part, rows in results.items()}


def test_a_part_is_measured_once_and_a_failed_one_again(tmp_path):
    parts = "--parts=kmeans_cpu,pytorch"
    first = check(tmp_path, parts, "--pytorch=/no/such/python")
    assert first.returncode == 1
    assert "No such file" in first.stdout
    found = figures(tmp_path)
    assert len(found["kmeans_cpu"]) == 2
    assert all(seconds > 0 for seconds in found["kmeans_cpu"])

    again = check(tmp_path, parts, "--pytorch=/no/such/python")
    assert "kmeans_cpu" not in again.stdout
    assert "pytorch: 0 s" in again.stdout
    assert figures(tmp_path) == found

    with (tmp_path / "gpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == ["kmeans_cpu", "kmeans_cpu", "pytorch"]
    assert rows[0]["what"].startswith("k-means, 20 iterations")
    assert rows[-1]["figure"] == ""
    assert "| PCA, on the CPU | 100 x 64 |" in (tmp_path / "report.md").read_text()


def test_no_part_begins_that_could_outlast_the_minutes(tmp_path):
    done = check(tmp_path, "--minutes=1")
    assert done.returncode == 0
    assert done.stdout.count("not begun") == len(PARTS)
    assert not (tmp_path / "results.json").exists()


def test_unknown_parts_are_refused(tmp_path):
    done = check(tmp_path, "--parts=devices,speed")
    assert done.returncode == 2
    assert "received speed" in done.stderr


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"devices": 7, "bfloat16": 2}, marks=pytest.mark.slow),
        pytest.param({"parity": 4, "xla": 2, "pipeline": 8, "kmeans": 2}, marks=LONG),
        pytest.param({"run": 3, "resume": 1, "mirrored": 1}, marks=LONG),
        pytest.param({"workers": 2}, marks=LONG),
    ],
)
def test_all_figures_of_a_part(tmp_path, parts):
    done = check(tmp_path, f"--parts={','.join(parts)}", "--minutes=30", timeout=1800)
    assert done.returncode == 0, done.stdout
    found = figures(tmp_path)
    assert {part: len(rows) for part, rows in found.items()} == parts
    if "parity" in parts:
        # On a CPU the two are one.
        assert found["parity"][0] < 1e-3
        assert found["parity"][2] < 0.05
    if "workers" in parts:
        assert found["workers"][1] < 1e-4
    if "resume" in parts:
        assert found["resume"] == [0.0]
