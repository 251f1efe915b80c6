"""Writes the Markdown tables of docs/*.md from the CSV files of docs/data/.

    python tools/write_tables.py            rewrites the tables
    python tools/write_tables.py --check    names documents that are not up to date; exits with 1

A table stands between two comments. The first says what it is made of; it may run over lines:

    <!-- table: speed; where stage=train step; columns setting, ours as images/s, ratio -->
    <!-- end -->

Its parts are separated by semicolons, the file's name comes first:

    speed                       docs/data/speed.csv
    where COLUMN=VALUE          only such rows; VALUE|VALUE for either; may be repeated
    columns COLUMN, ...         the cells of a row; `COLUMN as HEADING` gives the heading
    rows COLUMN, ...            with `across`: rows that agree in these columns become one
    across COLUMN               `columns` are repeated for each value of this column; the heading is
                                "VALUE: HEADING", or the value alone if there is one column

A figure stands with its spread: beside a column NAME, NAME_spread is written "± spread", NAME_low
and NAME_high "(low to high)", where they are not empty. An empty figure is written "–", a whole
number with commas. Cells are otherwise as in the file, and rows in its order.

Benchmarks add their rows by `put_rows`, then call `write_tables`. A row takes the place of the one
with the same key (`BENCHMARK_KEYS`). Cells are text as it shall be read, without commas in numbers;
what does not apply stays empty. The columns that all of them have: `goal`, a number; `note`;
`date`, such as 2026-11-26; `machine`, the processor and its cores; `shared`, "yes" if other
processes ran; `versions`, such as "numpy 2.4.6, torch 2.13.0". The others are:

    speed.csv    a ratio of two rates, better if larger: stage, setting (sizes and precision),
                 against (the other contender), ours and other (medians), unit, ratio, ratio_low and
                 ratio_high (over the turns, empty if there was one)
    limits.csv   a figure that should stay below a goal: stage, setting, case, figure, figure_low
                 and figure_high (over the turns), unit
    growth.csv   seconds of a stage: stage, setting, n, seconds. It has no goal and no note
    scale.csv    seconds of a stage on several workers: stage, setting, part, seconds, simulated,
                 ratio of the two, fitted ("yes" where the simulation's constants are from). It has
                 no goal and no note
    predictions.csv  what simulate_scale predicts for a number of gpus, one to a machine: job,
                 images, clusters, batch, gpus; hours of features, pca, kmeans, train and a whole
                 turn; memory of a worker in GB; sent by it in TB. Nothing of it is measured
"""

import argparse
import csv
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

REPOSITORY = pathlib.Path(__file__).parent.parent
BENCHMARK_KEYS = {
    "speed": ("stage", "setting", "against", "machine"),
    "limits": ("stage", "setting", "case", "machine"),
    "growth": ("stage", "setting", "n", "machine"),
    "predictions": ("job", "gpus"),
    "scale": ("stage", "setting", "part", "machine"),
}

_TABLE = re.compile(r"<!-- table:(?P<marker>.*?)-->\n.*?<!-- end -->", re.DOTALL)
_START, _END = "<!-- table:", "<!-- end -->"
_NUMBER = re.compile(r"–|[+-]?[\d.,]+( ± [\d.]+| \([\d.,]+ to [\d.,]+\))?")
_EXAMPLE = "<!-- table: speed; where stage=sampling; columns against, ratio as times as fast -->"
_PARTS = ("where", "columns", "rows", "across")
# Words of columns' names that headings write otherwise.
_WORDS = {"knn": "k-NN", "nmi": "NMI", "ari": "ARI"}

Row = Mapping[str, str]


class TableError(Exception):
    """A table cannot be made: the problem, what was received, what is expected, the remedy."""


def write_tables(
    repository: pathlib.Path = REPOSITORY, *, check: bool = False
) -> list[pathlib.Path]:
    """Brings the tables of all documents up to date.

    Args:
        repository: The folder that holds docs/.
        check: Whether to leave the documents as they are.

    Returns:
        The documents that were not up to date.

    Raises:
        TableError: If a marker or a file of figures cannot be understood.
    """
    outdated = []
    for document in sorted((repository / "docs").glob("*.md")):
        before = document.read_text(encoding="utf-8")
        try:
            after = render(before, repository / "docs" / "data")
        except TableError as error:
            raise TableError(f"{document}: {error}") from error
        if after != before:
            outdated.append(document)
            if not check:
                document.write_text(after, encoding="utf-8", newline="\n")
    return outdated


def put_rows(repository: pathlib.Path, name: str, rows: Iterable[Row]) -> None:
    """Adds a benchmark's rows, each in place of the one with the same key.

    Args:
        repository: The folder that holds docs/.
        name: Of the file, a key of `BENCHMARK_KEYS`.
        rows: Cells by column; those that are left out are empty.

    Raises:
        TableError: If a row has a column that the file has not.
    """
    path = repository / "docs" / "data" / f"{name}.csv"
    columns, known = read_csv(path)
    by_key = {_pick(row, BENCHMARK_KEYS[name]): row for row in known}
    for row in rows:
        _expect_columns(row, columns, path.name)
        whole = {column: row.get(column, "") for column in columns}
        by_key[_pick(whole, BENCHMARK_KEYS[name])] = whole
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(by_key.values())


def render(text: str, data: pathlib.Path) -> str:
    """Rewrites the tables of one document.

    Args:
        text: The document.
        data: The folder of the CSV files.

    Returns:
        The document with its tables as the files have them.

    Raises:
        TableError: If a marker or a file of figures cannot be understood.
    """
    starts, ends = text.count(_START), text.count(_END)
    tables = list(_TABLE.finditer(text))
    if not starts == ends == len(tables) or any(_START in t["marker"] for t in tables):
        raise TableError(
            f"Tables and their ends do not match. Received: {starts} '{_START}' and {ends} "
            f"'{_END}'. Expected: each table's comment on lines of its own, then '{_END}'. "
            "Add what is missing."
        )

    def replace(table: re.Match) -> str:
        comment = table[0][: table.end("marker") - table.start()] + "-->"
        return f"{comment}\n{table_of(table['marker'], data)}{_END}"

    return _TABLE.sub(replace, text)


def table_of(marker: str, data: pathlib.Path) -> str:
    """Makes one table.

    Args:
        marker: What stands behind "table:" in its comment.
        data: The folder of the CSV files.

    Returns:
        Its lines, each with a line end.

    Raises:
        TableError: If the marker or the file cannot be understood.
    """
    name, *parts = (" ".join(part.split()) for part in marker.split(";"))
    given: dict[str, list[str]] = {keyword: [] for keyword in _PARTS}
    for part in parts:
        keyword, _, value = part.partition(" ")
        if keyword not in given or not value:
            raise _unclear(part)
        given[keyword].append(value)
    if len(given["columns"]) != 1 or len(given["rows"]) > 1 or len(given["across"]) > 1:
        raise _unclear(marker)
    if bool(given["rows"]) != bool(given["across"]):
        raise _unclear(marker)

    columns, rows = read_csv(data / f"{name}.csv")
    for condition in given["where"]:
        column, equals, value = condition.partition("=")
        if not equals:
            raise _unclear(f"where {condition}")
        _expect_columns([column], columns, f"{name}.csv")
        rows = [row for row in rows if row[column] in value.split("|")]
    if not rows:
        raise TableError(
            f"No row is left for a table. Received: {name}.csv with where "
            f"{' and '.join(given['where'])}. Expected: values that the file has. Mend the comment."
        )
    figures = _headings(given["columns"][0])
    keys = _headings(given["rows"][0]) if given["rows"] else {}
    across = given["across"][:1]
    _expect_columns([*figures, *keys, *across], columns, f"{name}.csv")
    if across:
        head, body = _across(rows, keys, across[0], figures, f"{name}.csv")
    else:
        head = list(figures.values())
        body = [[_cell(row, column) for column in figures] for row in rows]
    return _markdown(head, body)


def read_csv(path: pathlib.Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads a file of figures.

    Returns:
        Its columns, and its rows with all cells as text.

    Raises:
        TableError: If there is no such file, or a row has more or fewer cells than columns.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.csv")))
        raise TableError(
            f"A file of figures is missing. Received: {path.name}. Expected: one of {known}. "
            "Mend its name in the comment, or add the file to docs/data."
        )
    with open(path, encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise TableError(
                f"A row has another number of cells than the heading. Received: {len(row)} cells "
                f"in row {number} of {path.name}. Expected: {len(columns)}. Mend the row; cells "
                "with commas stand in double quotes."
            )
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def _across(
    rows: Sequence[Row], keys: dict[str, str], across: str, figures: dict[str, str], name: str
) -> tuple[list[str], list[list[str]]]:
    """The heading and the cells of a table that has one column set for each value of a column."""
    values = list(dict.fromkeys(row[across] for row in rows))
    found = {}
    for row in rows:
        place = (_pick(row, keys), row[across])
        if place in found:
            raise TableError(
                f"Two rows of {name} are for the same cells of a table. Received: "
                f"{', '.join([*place[0], place[1]])} twice. Expected: one. Add a 'where' that "
                "tells them apart, or a column to 'rows'."
            )
        found[place] = row
    head = list(keys.values())
    for value in values:
        named = [f"{value}: {heading}" for heading in figures.values()]
        head += named if len(named) > 1 else [value]
    body = []
    for key in dict.fromkeys(key for key, _ in found):
        first = next(found[key, value] for value in values if (key, value) in found)
        cells = [_cell(first, column) for column in keys]
        for value in values:
            row = found.get((key, value), {})
            cells += [_cell(row, column) for column in figures]
        body.append(cells)
    return head, body


def _headings(text: str) -> dict[str, str]:
    """Columns and their headings, from "COLUMN as HEADING, COLUMN"."""
    found = {}
    for item in text.split(","):
        column, _, heading = item.strip().partition(" as ")
        words = (_WORDS.get(word, word) for word in column.split("_"))
        found[column] = heading or " ".join(words)
    return found


def _cell(row: Row, column: str) -> str:
    """What is written for a figure, with its spread."""
    text = _readable(row.get(column, ""))
    if not text:
        return "–"
    if spread := row.get(f"{column}_spread"):
        text += f" ± {spread}"
    low, high = (_readable(row.get(f"{column}_{end}", "")) for end in ("low", "high"))
    if low and high:
        text += f" ({low} to {high})"
    return text.replace("|", r"\|")


def _readable(text: str) -> str:
    """Whole numbers with commas, other text as it is."""
    return f"{int(text):,}" if re.fullmatch("[1-9][0-9]*", text) else text


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, with columns of numbers to the right."""
    numeric = [all(_NUMBER.fullmatch(cell) for cell in cells) for cells in zip(*body, strict=True)]
    rule = "".join("---:|" if right else "---|" for right in numeric)
    lines = [f"| {' | '.join(head)} |", f"|{rule}"]
    lines += [f"| {' | '.join(cells)} |" for cells in body]
    return "".join(f"{line}\n" for line in lines)


def _pick(row: Row, columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(row[column] for column in columns)


def _expect_columns(wanted: Iterable[str], columns: Sequence[str], name: str) -> None:
    if unknown := [column for column in wanted if column not in columns]:
        raise TableError(
            f"{name} has no such column. Received: {', '.join(unknown)}. Expected: "
            f"{', '.join(columns)}. Mend the name, or add the column to the file."
        )


def _unclear(part: str) -> TableError:
    return TableError(
        f"A table's comment cannot be understood. Received: {' '.join(part.split())}. Expected: a "
        f"file, 'columns', and where needed 'where', or 'rows' with 'across', as in {_EXAMPLE}. "
        "Mend the comment."
    )


def main() -> int:
    """Writes or checks, and says which documents were not up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if needed")
    check = parser.parse_args().check
    try:
        outdated = write_tables(REPOSITORY, check=check)
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    for document in outdated:
        place = document.relative_to(REPOSITORY)
        print(f"{place}: not up to date, run python tools/write_tables.py" if check else place)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
