"""Reports as text: for the terminal, and as Markdown."""

import textwrap

from dc_keras.evaluation.account import layer_to_take, method_of, tables_of
from dc_keras.evaluation.class_table import markdown_lines
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.tables import markdown_table, plain_table

_TERMINAL_WIDTH = 80


def to_terminal(report: EvaluationReport) -> str:
    """The report as plain text, whose table fits 80 columns."""
    header = [f"Evaluation of {report.run_dir}", f"  images    {report.data_dir}"]
    header += textwrap.wrap(
        f"{report.setting()}, {report.split}; {report.date}; {report.told_versions()}",
        _TERMINAL_WIDTH,
        initial_indent="  setting   ",
        subsequent_indent=" " * 12,
    )
    header += [
        line
        for remark in (*report.notes(), *report.told_copies())
        for line in textwrap.wrap(
            remark, _TERMINAL_WIDTH, initial_indent="  note      ", subsequent_indent=" " * 12
        )
    ]
    tables = []
    for table in tables_of(report):
        title = textwrap.wrap(f"{table.title}:", _TERMINAL_WIDTH) if table.title else []
        tables += [*title, *plain_table(table, report.rows), ""]
    first, *compared = report.headline() or [""]
    sentence = textwrap.wrap(first, _TERMINAL_WIDTH)
    told = [*sentence, *(f"  {line}" for line in compared), ""] if compared else []
    for line in (*report.against_others(), *layer_to_take(report)):
        told += [*textwrap.wrap(line, _TERMINAL_WIDTH), ""]
    return "\n".join([*header, "", *tables, *told])


def to_markdown(report: EvaluationReport) -> str:
    """The report as Markdown, with an account of how the figures were measured."""
    tables = []
    for table in tables_of(report):
        title = [f"{table.title}:", ""] if table.title else []
        tables += [*title, *markdown_table(table, report.rows), ""]
    if by_class := report.by_class():
        of = f"Class by class, {report.classes} clusters of the first network and seed:"
        tables += [of, "", *markdown_lines(by_class), ""]
    first, *compared = report.headline() or [""]
    told = [first, "", *(f"- {line}" for line in compared), ""] if compared else []
    for line in (*report.against_others(), *layer_to_take(report)):
        told += [line, ""]
    return "\n".join(
        [
            "# Evaluation",
            "",
            f"- Run: `{report.run_dir}`",
            f"- Images: `{report.data_dir}`",
            f"- Setting: {report.setting()}",
            f"- Date: {report.date}",
            f"- Versions: {report.told_versions()}",
            *(f"- Note: {remark}" for remark in report.notes()),
            "",
            *told,
            *tables,
            "## How it was measured",
            "",
            *method_of(report),
            "",
        ]
    )
