"""A comparison for people: as text, as Markdown, as a plot, and as files."""

import os
import pathlib
import textwrap

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dc_keras.evaluation.compare.comparison import FIGURES, Compared, Comparison
from dc_keras.evaluation.compare.settings import Setting
from dc_keras.evaluation.plots import COLOURS, without_frame
from dc_keras.evaluation.tables import Column, Table, markdown_table, plain_table
from dc_keras.files import make_folder, write_atomically

# Larger probabilities, corrected for their number, count as chance.
CHANCE = 0.05
_TERMINAL_WIDTH = 80
# Columns of the tables, by the titles over them.
_TABLES = (
    (
        ("linear probe", {"probe_conv5": "conv5", "probe_fc7": "fc7"}),
        ("k-NN", {"knn_conv5": "conv5", "knn_fc7": "fc7"}),
        ("clusters", {"nmi": "NMI", "purity": "purity"}),
    ),
    (
        ("images a class", {"lowshot_fc7_1": "1", "lowshot_fc7_16": "16"}),
        ("labels", {"semi_1": "1 %", "semi_10": "10 %"}),
        ("k = classes", {"nmi_classes": "NMI", "accuracy_classes": "acc."}),
    ),
)
_METHOD = (
    "± is a standard error: over seeds; of a single run, that of an accuracy on so many test "
    "images. Single runs are compared by McNemar's exact test on the test images, several seeds by "
    "Student's paired t-test over the seeds that both have. All p are corrected by Holm for the "
    "number of comparisons here. A test of single runs tells of these two networks alone: another "
    "seed of the same settings may differ by as much."
)


def sentence(one: Compared, first: str) -> str:
    """What was found of one figure, in words.

    Args:
        one: The figure.
        first: Name of the setting that it is compared with.
    """
    title, style = FIGURES[one.figure]
    if one.difference is None or one.p is None:
        return f"{title}: {one.setting} is not tested against {first}; {one.reason}."
    percent = style.endswith("%")
    scale, digits, unit = (100, ".1f", " points") if percent else (1, ".3f", "")
    mean, error = scale * one.difference.mean, scale * one.difference.error
    if one.p >= CHANCE:
        return (
            f"{title}: no difference between {one.setting} and {first} that "
            f"{one.difference.count:,} {one.difference.units} show ({mean:+{digits}} ± "
            f"{error:{digits}}{unit}, {told_p(one.p)})."
        )
    return (
        f"{title}: {one.setting} is {'better' if mean > 0 else 'worse'} than {first} by "
        f"{abs(mean):{digits}} ± {error:{digits}}{unit} ({told_p(one.p)})."
    )


def told_p(p: float) -> str:
    """A probability in words.

    >>> told_p(0.0123), told_p(0.7), told_p(1e-9), told_p(1.0)
    ('p = .012', 'p = .70', 'p < .0001', 'p = 1')
    """
    if p < 1e-4:
        return "p < .0001"
    if p >= 0.995:
        return "p = 1"
    return f"p = {p:#.2g}".replace("= 0.", "= .")


def to_terminal(comparison: Comparison) -> str:
    """The comparison as plain text of 80 columns."""
    lines = [f"Comparison with {comparison.settings[0].name}"]
    for setting in comparison.settings:
        lines += textwrap.wrap(
            f"{setting.name}: {_runs(setting)}",
            _TERMINAL_WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    for remark in comparison.remarks:
        lines += textwrap.wrap(
            remark, _TERMINAL_WIDTH, initial_indent="  note  ", subsequent_indent=" " * 8
        )
    for table in _tables(comparison):
        lines += ["", *plain_table(table, comparison.rows)]
    lines.append("")
    for one in comparison.compared:
        lines += textwrap.wrap(
            sentence(one, comparison.settings[0].name), _TERMINAL_WIDTH, subsequent_indent="  "
        )
    return "\n".join([*lines, "", *textwrap.wrap(_METHOD, _TERMINAL_WIDTH), ""])


def to_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    first = comparison.settings[0].name
    lines = [f"# Comparison with {first}", ""]
    lines += [f"- {setting.name}: {_runs(setting)}" for setting in comparison.settings]
    lines += [f"- Note: {remark}" for remark in comparison.remarks]
    for table in _tables(comparison):
        lines += ["", *markdown_table(table, comparison.rows)]
    lines += ["", *(f"- {sentence(one, first)}" for one in comparison.compared)]
    return "\n".join([*lines, "", "## How it was compared", "", _METHOD, ""])


def figure(comparison: Comparison) -> Figure:
    """Dots with standard errors: a panel for each figure, a line for each setting."""
    keys, rows = comparison.figures, comparison.rows
    names = list(rows)
    across = min(4, max(1, len(keys)))
    down = -(-max(1, len(keys)) // across)
    size = (2.6 * across + 1, down * (0.9 + 0.3 * len(names)))
    plot = Figure(figsize=size, layout="constrained")
    panels = plot.subplots(down, across, sharey=True, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, key in zip(panels, keys, strict=False):
        panel.set_axis_on()
        title, style = FIGURES[key]
        scale = 100 if style.endswith("%") else 1
        for place, name in enumerate(names):
            if key in rows[name]:
                panel.errorbar(
                    scale * rows[name][key],
                    place,
                    xerr=scale * rows[name].get(f"{key}_sd", 0.0),
                    color=COLOURS[place % len(COLOURS)],
                    marker="o",
                    capsize=3,
                )
        panel.set_title(f"{title}, %" if scale > 1 else title, fontsize=10)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.grid(axis="x", color="#e4e4e4", linewidth=0.8)
        panel.set_axisbelow(True)
        without_frame(panel)
    return plot


def write(comparison: Comparison, folder: str | os.PathLike) -> pathlib.Path:
    """Writes comparison.json, comparison.md and comparison.svg.

    Args:
        comparison: What was found.
        folder: Where to; made if it does not exist.

    Returns:
        The path of the Markdown file.

    Raises:
        CannotWriteError: If the disk is full, or does not let it be written.
    """
    folder = pathlib.Path(folder)
    make_folder(folder)
    for ending, text in (("json", comparison.to_json()), ("md", to_markdown(comparison))):
        with write_atomically(folder / f"comparison.{ending}") as file:
            file.write(text)
    with write_atomically(folder / "comparison.svg", "wb") as file:
        # Without a date, equal plots are equal files.
        figure(comparison).savefig(file, format="svg", metadata={"Date": None})
    return folder / "comparison.md"


def _tables(comparison: Comparison) -> list[Table]:
    """The tables that have figures."""
    tables = [
        Table(
            [
                Column(key, group, title, FIGURES[key][1])
                for group, titles in groups
                for key, title in titles.items()
            ]
        ).of(comparison.rows)
        for groups in _TABLES
    ]
    return [table for table in tables if table.columns]


def _runs(setting: Setting) -> str:
    """The runs of a setting, in words."""
    seeds = ", ".join(map(str, setting.seeds))
    runs = ", ".join(one.run for one in setting.runs)
    return f"{runs} ({'seeds' if len(setting.runs) > 1 else 'seed'} {seeds})"
