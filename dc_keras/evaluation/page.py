"""Reports as one page of HTML that needs no other file, no script and no network."""

import html
import itertools
import re
from collections.abc import Iterable, Sequence

from dc_keras.evaluation.account import layer_to_take, method_of, tables_of
from dc_keras.evaluation.class_table import TITLES, cells_of
from dc_keras.evaluation.exhibits import Exhibit
from dc_keras.evaluation.report import SUPERVISED, EvaluationReport
from dc_keras.evaluation.tables import Table, cell, spread

_STYLE = """
:root { color-scheme: light dark; --ground: #fafaf9; --panel: #fff; --line: #e2e0dc; --text:
  #1c1b1a;
  --muted: #6a6763; --accent: #2557c7; --sunken: #f0efed;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-
  serif; }
@media (prefers-color-scheme: dark) { :root { --ground: #131416; --panel: #1c1d20; --line:
  #33353a;
  --text: #ececea; --muted: #a09f9b; --accent: #8cb0ff; --sunken: #26282c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); }
main { max-width: 1060px; margin: 0 auto; padding: 36px 24px 80px; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; letter-spacing: -.015em; margin: 0 0 4px; line-height: 1.25; }
h2 { font-size: 1.15rem; margin: 44px 0 10px; }
.muted { color: var(--muted); }
.head { font-size: 1.1rem; margin: 22px 0 6px; max-width: 46em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 18px 0; font-
  size: .92rem; }
dt { color: var(--muted); } dd { margin: 0; }
ul { padding-left: 1.2em; } li { margin: 3px 0; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background:
  var(--panel); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size:
  .92rem; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; }
th { font-weight: 550; color: var(--muted); } thead th { border-bottom: 1px solid var(--line); }
thead .group { text-align: center; border-bottom: 0; padding-bottom: 0; }
tbody th, thead [rowspan] { text-align: left; vertical-align: bottom; }
tbody th { color: var(--text); } tbody tr + tr > * { border-top: 1px solid var(--line); }
td.best { font-weight: 700; color: var(--accent); }
td small { color: var(--muted); margin-left: 5px; }
caption { caption-side: bottom; text-align: left; padding: 8px 12px; color: var(--muted); }
figure { margin: 0; } figcaption { color: var(--muted); font-size: .9rem; margin: 6px 0 10px;
  max-width: 60em; }
figure svg, figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid
  var(--line);
  border-radius: 10px; padding: 12px; }
code { background: var(--sunken); border-radius: 4px; padding: 0 4px; font-size: .92em; }
@media print { main { max-width: none; padding: 0; } figure, .wide { break-inside: avoid; } }
"""


def to_html(report: EvaluationReport, exhibits: Sequence[Exhibit] = ()) -> str:
    """A report as a page.

    Args:
        report: What was measured.
        exhibits: Plots and pictures, in order.
    """
    first, *compared = report.headline() or [""]
    facts = {
        "Run": f"<code>{_plain(report.run_dir)}</code>",
        "Images": f"<code>{_plain(report.data_dir)}</code>",
        "Setting": _plain(f"{report.setting()}; {report.split}"),
        "Date": _plain(report.date),
        "Versions": _plain(report.told_versions()),
    }
    notes = (*report.notes(), *report.told_copies())
    parts = [
        "<h1>What the features are worth</h1>",
        f'<p class="head">{_plain(first)}</p>' if first else "",
        _list(compared),
        *(f"<p>{_plain(line)}</p>" for line in (*report.against_others(), *layer_to_take(report))),
        "<dl>"
        + "".join(f"<dt>{name}</dt><dd>{told}</dd>" for name, told in facts.items())
        + "</dl>",
        *(f'<p class="muted">{_plain(note)}</p>' for note in notes),
        *(_figure(exhibit) for exhibit in exhibits if exhibit.comes_first),
        *(_table(table, report) for table in tables_of(report)),
        _by_class(report),
        *(_figure(exhibit) for exhibit in exhibits if not exhibit.comes_first),
        "<h2>How it was measured</h2>",
        "<ul>" + "".join(f"<li>{_marked(line)}</li>" for line in method_of(report)) + "</ul>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation of {_plain(report.run_dir)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        "<body><main>\n" + "\n".join(part for part in parts if part) + "\n</main></body>\n</html>\n"
    )


def _table(table: Table, report: EvaluationReport) -> str:
    """A table with the best of each column in another colour; those with labels do not compete."""
    if table.transposed:
        return _transposed(table, report)
    rivals = [figures for name, figures in report.rows.items() if name != SUPERVISED]
    best = {
        column.key: max((row[column.key] for row in rivals if column.key in row), default=None)
        for column in table.columns
    }
    rows = []
    for name, figures in report.rows.items():
        cells = [f"<th>{_plain(name)}</th>"]
        for column in table.columns:
            is_best = column.key in figures and figures[column.key] == best[column.key]
            deviation = spread(figures, column)
            small = f"<small>{deviation}</small>" if deviation else ""
            mark = ' class="best"' if is_best else ""
            cells.append(f"<td{mark}>{cell(figures, column)}{small}</td>")
        rows.append("".join(cells))
    groups = [
        (name, len(list(columns)))
        for name, columns in itertools.groupby(table.columns, key=lambda column: column.group)
    ]
    heads = "".join(f'<th class="group" colspan="{n}">{_plain(name)}</th>' for name, n in groups)
    titles = "".join(f"<th>{_plain(column.title)}</th>" for column in table.columns)
    return _framed(
        table.heading, table.title, [f'<th rowspan="2">network</th>{heads}', titles], rows
    )


def _transposed(table: Table, report: EvaluationReport) -> str:
    """A table whose columns are written as lines."""
    rows = [
        _line(column.title, (cell(figures, column) for figures in report.rows.values()))
        for column in table.columns
    ]
    return _framed(table.heading, table.title, [_heads(table.columns[0].group, *report.rows)], rows)


def _by_class(report: EvaluationReport) -> str:
    """What the clusters make of each class."""
    rows = [_line(name, cells) for name, *cells in map(cells_of, report.by_class())]
    if not rows:
        return ""
    caption = f"Of {report.classes} clusters of the first network and seed"
    return _framed("Class by class", caption, [_heads(*TITLES)], rows)


def _line(name: str, cells: Iterable[str]) -> str:
    return f"<th>{_plain(name)}</th>" + "".join(f"<td>{_plain(one)}</td>" for one in cells)


def _heads(first: str, *others: str) -> str:
    told = "".join(f"<th>{_plain(one)}</th>" for one in others)
    return f'<th rowspan="1">{_plain(first)}</th>{told}'


def _framed(heading: str, caption: str, heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table under a heading, of lines that are elements already."""
    told = f"<caption>{_plain(caption)}.</caption>" if caption else ""
    head, body = ("".join(f"<tr>{line}</tr>" for line in lines) for lines in (heads, rows))
    return (
        f'<h2>{_plain(heading)}</h2><div class="wide"><table>{told}'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _figure(exhibit: Exhibit) -> str:
    label = _plain(exhibit.title)
    note = f"<figcaption>{_plain(exhibit.note)}</figcaption>" if exhibit.note else ""
    return f"<h2>{label}</h2><figure>{note}{exhibit.to_html(label)}</figure>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_plain(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _marked(line: str) -> str:
    """A line of a Markdown list."""
    text = _plain(line.removeprefix("- "))
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text)


def _plain(text: str) -> str:
    """Text of a page; bytes that are no UTF-8 become visible."""
    return html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
