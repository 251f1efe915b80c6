"""Tables in the documents are those of the CSV files."""

import pathlib
import re
import subprocess
import sys

import pytest

from tools import write_tables as tables

FIGURES = """\
network,data,seeds,probe,probe_spread,ratio,ratio_low,ratio_high,note
random,digits,3,31.4,1.2,0.5,0.4,0.6,
random,photos,1,9.8,,,,,one seed
paper,digits,1200,28.5,2.5,1.5,,,"a, b | c"
"""
MARKER = "<!-- table: figures; columns network, probe as probe in %, ratio -->"
TABLE = """\
| network | probe in % | ratio |
|---|---:|---:|
| random | 31.4 ± 1.2 | 0.5 (0.4 to 0.6) |
| random | 9.8 | – |
| paper | 28.5 ± 2.5 | 1.5 |
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with one file of figures and no document."""
    (tmp_path / "docs" / "data").mkdir(parents=True)
    (tmp_path / "docs" / "data" / "figures.csv").write_text(FIGURES, encoding="utf-8")
    return tmp_path


def document(repository: pathlib.Path, text: str) -> pathlib.Path:
    path = repository / "docs" / "results.md"
    path.write_text(text, encoding="utf-8")
    return path


def table(repository: pathlib.Path, marker: str) -> list[str]:
    return tables.table_of(marker, repository / "docs" / "data").splitlines()


def test_what_stands_between_the_comments_is_replaced(repository):
    path = document(repository, f"# Before\n\n{MARKER}\nold\n<!-- end -->\n\nAfter.\n")
    assert tables.write_tables(repository) == [path]
    expected = f"# Before\n\n{MARKER}\n{TABLE}<!-- end -->\n\nAfter.\n"
    assert path.read_text(encoding="utf-8") == expected
    assert tables.write_tables(repository) == []


def test_a_changed_figure_changes_the_table(repository):
    path = document(repository, f"{MARKER}\n<!-- end -->\n")
    tables.write_tables(repository)
    figures = repository / "docs" / "data" / "figures.csv"
    figures.write_text(FIGURES.replace("28.5", "28.6"), encoding="utf-8")
    assert tables.write_tables(repository, check=True) == [path]
    assert "28.5" in path.read_text(encoding="utf-8")
    assert tables.write_tables(repository) == [path]
    expected = TABLE.replace("28.5", "28.6")
    assert path.read_text(encoding="utf-8") == f"{MARKER}\n{expected}<!-- end -->\n"


def test_two_tables_of_a_document_are_apart(repository):
    both = f"{MARKER}\n<!-- end -->\nbetween\n{MARKER}\n<!-- end -->\n"
    path = document(repository, both)
    tables.write_tables(repository)
    made = f"{MARKER}\n{TABLE}<!-- end -->\n"
    assert path.read_text(encoding="utf-8") == f"{made}between\n{made}"


def test_a_comment_may_run_over_lines(repository):
    marker = "figures;\nwhere data=digits;\ncolumns network,\nseeds"
    assert table(repository, marker)[2:] == ["| random | 3 |", "| paper | 1,200 |"]


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("where network=random", ["| 31.4 ± 1.2 |", "| 9.8 |"]),
        ("where network=paper|random; where data=photos", ["| 9.8 |"]),
        ("where note=|one seed; where network=random", ["| 31.4 ± 1.2 |", "| 9.8 |"]),
        ("where note=a, b | c|one seed", ["| 9.8 |"]),
    ],
)
def test_where_leaves_rows_that_fulfil_all_conditions(repository, where, rows):
    assert table(repository, f"figures; {where}; columns probe")[2:] == rows


def test_text_stands_to_the_left_and_bars_do_not_end_a_cell(repository):
    made = table(repository, "figures; where network=paper; columns note, probe")
    assert made == ["| note | probe |", "|---|---:|", r"| a, b \| c | 28.5 ± 2.5 |"]


def test_across_makes_one_column_a_value(repository):
    assert table(repository, "figures; rows network; across data; columns probe") == [
        "| network | digits | photos |",
        "|---|---:|---:|",
        "| random | 31.4 ± 1.2 | 9.8 |",
        "| paper | 28.5 ± 2.5 | – |",
    ]


def test_across_several_columns_tells_whose_they_are(repository):
    columns = "rows network as net; across data; columns probe, seeds as n"
    made = table(repository, f"figures; where network=random; {columns}")
    assert made[0] == "| net | digits: probe | digits: n | photos: probe | photos: n |"
    assert made[2] == "| random | 31.4 ± 1.2 | 3 | 9.8 | 1 |"


def test_names_of_columns_make_headings(repository):
    (repository / "docs" / "data" / "other.csv").write_text("knn_fc7,nmi\n1,0.5\n")
    assert table(repository, "other; columns knn_fc7, nmi")[0] == "| k-NN fc7 | NMI |"


@pytest.mark.parametrize(
    ("marker", "problem"),
    [
        ("figures; columns network, probes", "has no such column. Received: probes. Expected: net"),
        ("figures; where nets=a; columns network", "has no such column. Received: nets."),
        ("figures; rows nets; across data; columns probe", "no such column. Received: nets."),
        ("figures; rows network; across sets; columns probe", "no such column. Received: sets."),
        ("figure; columns network", "missing. Received: figure.csv. Expected: one of figures."),
        ("figures; where data=faces; columns network", "figures.csv with where data=faces."),
        ("figures", "cannot be understood. Received: figures. Expected: a file"),
        ("figures; columns", "cannot be understood. Received: columns."),
        ("figures; where data; columns network", "cannot be understood. Received: where data."),
        ("figures; sort probe; columns network", "cannot be understood. Received: sort probe."),
        ("figures; rows network; columns probe", "cannot be understood."),
        ("figures; across data; columns probe", "cannot be understood."),
        ("figures; columns probe; columns seeds", "cannot be understood."),
        ("figures; rows data; across data; columns probe", "Received: digits, digits twice."),
    ],
)
def test_errors_tell_problem_received_expected_and_remedy(repository, marker, problem):
    path = document(repository, f"<!-- table: {marker} -->\n<!-- end -->\n")
    with pytest.raises(tables.TableError) as raised:
        tables.write_tables(repository)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert " Expected: " in message
    assert " Mend " in message or " Add " in message


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER}\n",
        f"{MARKER}\n{MARKER}\n<!-- end -->\n",
        "<!-- end -->\n",
        f"<!-- end -->\n{MARKER}\n",
        f"{MARKER} text\n<!-- end -->\n",
        f"{MARKER.removesuffix('-->')}\n<!-- end -->\n",
    ],
)
def test_comments_must_come_in_pairs(repository, text):
    path = document(repository, text)
    with pytest.raises(tables.TableError, match="ends do not match"):
        tables.write_tables(repository)
    assert path.read_text(encoding="utf-8") == text


def test_rows_of_another_length_are_named(repository):
    figures = repository / "docs" / "data" / "figures.csv"
    figures.write_text("network,probe\nrandom,1\npaper,1,200\n")
    with pytest.raises(tables.TableError, match=r"3 cells in row 3 of figures\.csv\. Expected: 2"):
        table(repository, "figures; columns probe")


def benchmark(repository: pathlib.Path) -> pathlib.Path:
    path = repository / "docs" / "data" / "growth.csv"
    path.write_text("stage,setting,n,seconds,machine\npca,,1000,0.5,a\npca,,3000,2,a\n")
    return path


def test_a_row_takes_the_place_of_the_same_measurement(repository):
    path = benchmark(repository)
    tables.put_rows(
        repository,
        "growth",
        [
            {"stage": "pca", "n": "1000", "seconds": "0.4", "machine": "a"},
            {"stage": "pca", "n": "1000", "seconds": "0.3", "machine": "a, 2 cores"},
        ],
    )
    assert path.read_text() == (
        "stage,setting,n,seconds,machine\n"
        'pca,,1000,0.4,a\npca,,3000,2,a\npca,,1000,0.3,"a, 2 cores"\n'
    )


def test_a_row_with_an_unknown_column_changes_nothing(repository):
    path = benchmark(repository)
    before = path.read_text()
    with pytest.raises(tables.TableError, match=r"growth\.csv has no such column. Received: time"):
        tables.put_rows(repository, "growth", [{"stage": "pca", "time": "1"}])
    assert path.read_text() == before


def test_benchmarks_find_the_columns_that_the_docstring_tells():
    for name, key in tables.BENCHMARK_KEYS.items():
        columns, rows = tables.read_csv(tables.REPOSITORY / "docs" / "data" / f"{name}.csv")
        told = re.search(rf"    {name}\.csv .*?(?=\n    \w|\Z)", tables.__doc__, re.DOTALL)[0]
        assert not [c for c in columns if c not in told and f"`{c}`" not in tables.__doc__]
        assert len({tuple(row[c] for c in key) for row in rows}) == len(rows)


def test_the_documents_of_this_repository_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "tools/write_tables.py", "--check"],
        cwd=tables.REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_the_document_and_exits_with_1(repository, monkeypatch, capsys):
    document(repository, f"{MARKER}\n<!-- end -->\n")
    monkeypatch.setattr(tables, "REPOSITORY", repository)
    monkeypatch.setattr(sys, "argv", ["write_tables.py", "--check"])
    assert tables.main() == 1
    assert capsys.readouterr().out.startswith("docs/results.md: not up to date")
    monkeypatch.setattr(sys, "argv", ["write_tables.py"])
    assert tables.main() == 0
    assert capsys.readouterr().out == "docs/results.md\n"


def test_errors_end_the_program_with_2(repository, monkeypatch, capsys):
    document(repository, "<!-- table: figures; columns probes -->\n<!-- end -->\n")
    monkeypatch.setattr(tables, "REPOSITORY", repository)
    monkeypatch.setattr(sys, "argv", ["write_tables.py"])
    assert tables.main() == 2
    assert "Received: probes" in capsys.readouterr().err
