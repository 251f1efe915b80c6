"""Tables of figures, as plain text of 80 columns and as Markdown."""

import dataclasses
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CELL_WIDTH = 6
# Of a column that stands for a network; longer names are broken.
NETWORK_WIDTH = 11

Rows = Mapping[str, Mapping[str, float]]


class Column(NamedTuple):
    """A figure of every network.

    Attributes:
        key: Its name among the figures; `key_sd`, if it is there, is its standard deviation.
        group: The title over this and the columns beside it.
        title: Its own title.
        style: How it is written, as for `format`.
    """

    key: str
    group: str
    title: str
    style: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Figures beside each other.

    Attributes:
        columns: From left to right.
        title: What they are of; empty for the first table.
        heading: What they are called in a few words.
        transposed: Whether columns are written as lines and networks as columns, for figures that
            are too many to stand beside each other. Their groups are not written.
    """

    columns: Sequence[Column]
    title: str = ""
    heading: str = "Figures"
    transposed: bool = False

    def of(self, rows: Rows) -> "Table":
        """The same without columns of which no row has a figure."""
        known = set().union(*rows.values())
        columns = [one for one in self.columns if one.key in known]
        return dataclasses.replace(self, columns=columns)


def plain_table(table: Table, rows: Rows) -> list[str]:
    r"""A table as plain text, with deviations in lines below their means.

    >>> columns = [Column("a", "letters", "a", ".1%"), Column("b", "letters", "b", ".1%")]
    >>> rows = {"mine": {"a": 0.5, "a_sd": 0.01, "b": 1}, "yours": {"a": 0.25, "a_sd": 0.02}}
    >>> print("\n".join(plain_table(Table(columns), rows)))
             -- letters --
    network       a      b
    mine      50.0% 100.0%
              ±1.0%
    yours     25.0%      -
              ±2.0%
    """
    if table.transposed:
        return _plain_transposed(table, rows)
    # A group's title stands over its columns.
    sizes = {
        group: len(list(columns))
        for group, columns in itertools.groupby(table.columns, key=lambda column: column.group)
    }
    rules = [f" {group} ".center(size * (CELL_WIDTH + 1) - 1, "-") for group, size in sizes.items()]
    width = max(len(network) for network in ("network", *rows))
    lines = ["  ".join([" " * width, *rules])]
    cells = [["network", *(column.title for column in table.columns)]]
    for network, figures in rows.items():
        cells.append([network, *(cell(figures, column) for column in table.columns)])
        if any(f"{column.key}_sd" in figures for column in table.columns):
            cells.append(["", *(spread(figures, column) for column in table.columns)])
    for first, *others in cells:
        left = iter([cell.rjust(CELL_WIDTH) for cell in others])
        groups = [
            " ".join(itertools.islice(left, size)).rjust(len(rule))
            for rule, size in zip(rules, sizes.values(), strict=True)
        ]
        lines.append("  ".join([first.ljust(width), *groups]).rstrip())
    return lines


def markdown_table(table: Table, rows: Rows) -> list[str]:
    """Lines of Markdown, with deviations behind their means."""
    if table.transposed:
        return _markdown_transposed(table, rows)
    titles = ["network", *(f"{column.group}: {column.title}" for column in table.columns)]
    cells = [titles, ["---", *("---:" for _ in table.columns)]]
    for network, figures in rows.items():
        both = (
            f"{cell(figures, column)} {spread(figures, column)}".strip() for column in table.columns
        )
        cells.append([network, *both])
    return ["| " + " | ".join(line) + " |" for line in cells]


def _plain_transposed(table: Table, rows: Rows) -> list[str]:
    r"""As `plain_table`, with networks as columns.

    >>> columns = [Column("a", "layer", "relu1", ".1%"), Column("b", "layer", "fc7", ".1%")]
    >>> rows = {"mine": {"a": 0.5, "a_sd": 0.01, "b": 1}, "random, calibrated": {"a": 0.25}}
    >>> print("\n".join(_plain_transposed(Table(columns), rows)))
                      random,
             mine  calibrated
    relu1   50.0%       25.0%
            ±1.0%
    fc7    100.0%           -
    """
    names = [textwrap.wrap(network, NETWORK_WIDTH) for network in rows]
    height = max(len(parts) for parts in names)
    names = [[""] * (height - len(parts)) + parts for parts in names]
    widths = [max(CELL_WIDTH, *map(len, parts)) for parts in names]
    cells = [["", *parts] for parts in zip(*names, strict=True)]
    for column in table.columns:
        cells.append([column.title, *(cell(figures, column) for figures in rows.values())])
        if any(f"{column.key}_sd" in figures for figures in rows.values()):
            cells.append(["", *(spread(figures, column) for figures in rows.values())])
    first = max(len(line[0]) for line in cells)
    return [
        "  ".join(
            [
                line[0].ljust(first),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths, strict=True)),
            ]
        ).rstrip()
        for line in cells
    ]


def _markdown_transposed(table: Table, rows: Rows) -> list[str]:
    """As `markdown_table`, with networks as columns."""
    group = table.columns[0].group if table.columns else ""
    cells = [[group, *rows], ["---", *("---:" for _ in rows)]]
    for column in table.columns:
        both = (
            f"{cell(figures, column)} {spread(figures, column)}".strip()
            for figures in rows.values()
        )
        cells.append([column.title, *both])
    return ["| " + " | ".join(line) + " |" for line in cells]


def cell(figures: Mapping[str, float], column: Column) -> str:
    """A figure in words."""
    value = figures.get(column.key)
    return "-" if value is None else format(value, column.style)


def spread(figures: Mapping[str, float], column: Column) -> str:
    """Its standard deviation in words; empty where there is none."""
    value = figures.get(f"{column.key}_sd")
    return "" if value is None else f"±{format(value, column.style)}"
