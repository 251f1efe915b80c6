"""Rows that are printed, and kept where the tables are made from."""

import argparse
import csv
import datetime

import numpy as np
import pytest

from benchmarks import rows

SUBJECT = rows.Subject("a stage", "n = 2", ["numpy"])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with the columns of this one and no rows, where rows are written to."""
    (tmp_path / "docs" / "data").mkdir(parents=True)
    for name in ("speed", "limits", "growth"):
        of_this = rows.REPOSITORY / "docs" / "data" / f"{name}.csv"
        (tmp_path / "docs" / "data" / f"{name}.csv").write_text(
            of_this.read_text(encoding="utf-8").partition("\n")[0] + "\n", encoding="utf-8"
        )
    monkeypatch.setattr(rows, "REPOSITORY", tmp_path)
    monkeypatch.setattr(rows, "_cpu", lambda: "a processor")
    monkeypatch.setattr(rows.os, "cpu_count", lambda: 2)
    return tmp_path


def options(*, write=True, shared=False):
    return argparse.Namespace(write=write, shared=shared)


def written(repository, name):
    path = repository / "docs" / "data" / f"{name}.csv"
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(**turns):
    return {name: np.array(rates, float) for name, rates in turns.items()}


def report_speed(*, goals=None, **turns):
    def report(**how):
        rows.report_speed(
            options(**how), SUBJECT, measured(**turns), "images/s", goals=goals or {}, note="a note"
        )

    return report


def test_a_speed_is_a_row_for_each_other_contender(repository):
    report_speed(ours=[300, 300], a=[100, 100], b=[100, 100], goals={"a": 3})(shared=True)
    first, second = written(repository, "speed")
    assert first == {
        "stage": "a stage",
        "setting": "n = 2",
        "against": "a",
        "ours": "300",
        "other": "100",
        "unit": "images/s",
        "ratio": "3",
        "ratio_low": "3",
        "ratio_high": "3",
        "goal": "3",
        "note": "a note",
        "date": str(datetime.date.today()),
        "machine": "a processor, 2 cores",
        "shared": "yes",
        "versions": f"numpy {np.__version__}",
    }
    assert (second["against"], second["goal"]) == ("b", "")


def test_the_ratio_is_that_of_medians_with_the_turns_extremes(repository):
    report_speed(ours=[10, 40, 30], a=[5, 10, 20])()
    (row,) = written(repository, "speed")
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == ("3", "1.5", "4")
    assert (row["ours"], row["other"]) == ("30", "10")


def test_one_turn_has_no_spread(repository):
    report_speed(ours=[30], a=[10])()
    (row,) = written(repository, "speed")
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == ("3", "", "")


def test_speeds_are_printed_with_what_was_reached_and_where(repository, capsys):
    report = report_speed(
        ours=[300, 300], a=[100, 100], b=[100, 100], c=[600, 600], goals={"a": 3, "b": 3.1}
    )
    report()
    first, second, third = capsys.readouterr().out.splitlines()
    assert "| a stage, n = 2 | a | 300 : 100 images/s | 3 (3 to 3) | 3: reached | a note |" in first
    assert "| 3.1: missed |" in second
    assert "| c | 300 : 600 images/s | 0.5 (0.5 to 0.5) | - | a note |" in third
    assert all(f"a processor, 2 cores; numpy {np.__version__}" in row for row in (first, third))
    report(shared=True)
    assert all("machine shared" in row for row in capsys.readouterr().out.splitlines())


def test_nothing_is_written_unless_asked_for(repository, capsys):
    report_speed(ours=[2], a=[1])(write=False)
    assert written(repository, "speed") == []
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_same_measurement_is_replaced_on_the_same_machine_alone(repository, monkeypatch):
    report_speed(ours=[2], a=[1], b=[1])()
    monkeypatch.setattr(rows, "_cpu", lambda: "another processor")
    report_speed(ours=[3], a=[1])()
    found = [(row["against"], row["ratio"], row["machine"]) for row in written(repository, "speed")]
    assert found == [
        ("a", "2", "a processor, 2 cores"),
        ("b", "2", "a processor, 2 cores"),
        ("a", "3", "another processor, 2 cores"),
    ]
    report_speed(ours=[4], a=[1])(shared=True)
    assert [row["ratio"] for row in written(repository, "speed")] == ["2", "2", "4"]


def test_a_limit_is_a_row_with_its_spread(repository, capsys):
    rows.report_limit(options(), SUBJECT, "a case", [21.04, 30.06, 20.02], "s", goal=20)
    (row,) = written(repository, "limits")
    assert {row[name] for name in ("note", "shared")} == {""}
    assert [row[name] for name in ("case", "figure", "figure_low", "figure_high")] == [
        "a case", "21", "20", "30.1",
    ]  # fmt: skip
    assert (row["unit"], row["goal"]) == ("s", "20")
    assert "| a case | 21 (20 to 30.1) s | 20: missed |" in capsys.readouterr().out


def test_a_limit_is_kept_by_what_equals_it(repository, capsys):
    rows.report_limit(options(), SUBJECT, "", [1.05], "exponent", goal=1.05, note="so it is")
    (row,) = written(repository, "limits")
    assert (row["figure"], row["figure_low"], row["note"]) == ("1.05", "", "so it is")
    assert "| - | 1.05 exponent | 1.05: reached | so it is |" in capsys.readouterr().out


def test_growth_is_a_row_for_each_number_of_images(repository, capsys):
    rows.report_growth(options(), rows.Subject("pca", "", ["numpy"]), {1000: 0.00366, 30_000: 12})
    found = [(row["stage"], row["n"], row["seconds"]) for row in written(repository, "growth")]
    assert found == [("pca", "1000", "0.00366"), ("pca", "30000", "12")]
    assert "| pca | n = 30,000 | 12 s |" in capsys.readouterr().out


def test_tables_are_renewed(repository):
    document = repository / "docs" / "benchmarks.md"
    document.write_text("<!-- table: speed; columns stage, ratio -->\n<!-- end -->\n")
    report_speed(ours=[2], a=[1])()
    assert "| a stage | 2 |" in document.read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_234_567, "1230000"), (7783.2, "7780"), (32.84, "32.8"), (0.796, "0.796"), (0.8, "0.8")],
)
def test_numbers_have_three_digits_and_no_powers_of_ten(value, text):
    assert rows.plain(value) == text
