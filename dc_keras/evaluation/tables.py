"""Tables of figures, as plain text of 80 columns and as Markdown."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CELL_WIDTH = 6

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
    """

    columns: Sequence[Column]
    title: str = ""
    heading: str = "Figures"

    def of(self, rows: Rows) -> "Table":
        """The same without columns of which no row has a figure."""
        known = set().union(*rows.values())
        return Table([one for one in self.columns if one.key in known], self.title, self.heading)


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
    titles = ["network", *(f"{column.group}: {column.title}" for column in table.columns)]
    cells = [titles, ["---", *("---:" for _ in table.columns)]]
    for network, figures in rows.items():
        both = (
            f"{cell(figures, column)} {spread(figures, column)}".strip() for column in table.columns
        )
        cells.append([network, *both])
    return ["| " + " | ".join(line) + " |" for line in cells]


def cell(figures: Mapping[str, float], column: Column) -> str:
    """A figure in words."""
    value = figures.get(column.key)
    return "-" if value is None else format(value, column.style)


def spread(figures: Mapping[str, float], column: Column) -> str:
    """Its standard deviation in words; empty where there is none."""
    value = figures.get(f"{column.key}_sd")
    return "" if value is None else f"±{format(value, column.style)}"
