"""Rows of figures: printed, and with --write put into docs/data, from which the tables are made."""

import argparse
import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence

import numpy as np

from dc_keras.machine import processor
from tools.write_tables import REPOSITORY, put_rows, write_tables

# A processor's name alone ("AMD EPYC") does not tell whether 16-bit numbers gain anything.
_INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        stage: Such as "train step".
        setting: Sizes and precision; empty if there is nothing to tell apart.
        packages: Distributions whose versions matter.
    """

    stage: str
    setting: str
    packages: Sequence[str]

    def __str__(self):
        return ", ".join(part for part in (self.stage, self.setting) if part)


def report_speed(
    options: argparse.Namespace,
    subject: Subject,
    measured: Mapping[str, np.ndarray],
    unit: str,
    *,
    goals: Mapping[str, float],
    note: str = "",
) -> None:
    """Reports how many times faster ours is than each other contender, as rows of speed.csv.

    That is the ratio of the medians; its spread is that of the turns' own ratios.

    Args:
        options: What `interleaved.arguments` returned.
        subject: What is measured.
        measured: What `interleaved.rates` returned, with a contender named "ours".
        unit: Such as "images/s".
        goals: Ratio to reach against other contenders, where there is a goal.
        note: What else was found.
    """
    ours = measured["ours"]
    for name in sorted(measured.keys() - {"ours"}):
        other, goal = measured[name], goals.get(name)
        ratio = np.median(ours) / np.median(other)
        row = {
            "against": name,
            "ours": plain(np.median(ours)),
            "other": plain(np.median(other)),
            "unit": unit,
            "ratio": plain(ratio),
            **_spread("ratio", ours / other),
            "goal": "" if goal is None else plain(goal),
            "note": note,
        }
        _report(
            options,
            "speed",
            subject,
            row,
            f"{name} | {row['ours']} : {row['other']} {unit} | {_with_spread(row, 'ratio')} | "
            + ("-" if goal is None else f"{row['goal']}: {_verdict(ratio >= goal)}"),
        )


def report_limit(
    options: argparse.Namespace,
    subject: Subject,
    case: str,
    figures: Sequence[float],
    unit: str,
    *,
    goal: float,
    note: str = "",
) -> None:
    """Reports a figure that should stay below a goal, as a row of limits.csv.

    Args:
        options: What `interleaved.arguments` returned.
        subject: What is measured.
        case: Under which circumstances; may be empty.
        figures: Of each turn.
        unit: Such as "GB".
        goal: The largest figure that is wanted.
        note: What else was found.
    """
    middle = float(np.median(figures))
    row = {
        "case": case,
        "figure": plain(middle),
        **_spread("figure", figures),
        "unit": unit,
        "goal": plain(goal),
        "note": note,
    }
    _report(
        options,
        "limits",
        subject,
        row,
        f"{case or '-'} | {_with_spread(row, 'figure')} {unit} | {row['goal']}: "
        f"{_verdict(middle <= goal)}",
    )


def report_growth(
    options: argparse.Namespace, subject: Subject, seconds: Mapping[int, float]
) -> None:
    """Reports the seconds of a stage for numbers of images, as rows of growth.csv."""
    for n, found in seconds.items():
        row = {"n": str(n), "seconds": plain(found)}
        _report(options, "growth", subject, row, f"n = {n:,} | {row['seconds']} s")


def report_scale(
    options: argparse.Namespace,
    subject: Subject,
    part: str,
    measured: float,
    simulated: float | None = None,
    *,
    fitted: bool = False,
) -> None:
    """Reports the seconds of a stage on several workers beside simulated ones, as a row.

    Args:
        options: What `interleaved.arguments` returned.
        subject: What is measured.
        part: The stage.
        measured: Seconds.
        simulated: Seconds, or None where nothing says.
        fitted: Whether the simulation's constants come from this case, among others.
    """
    row = {
        "part": part,
        "seconds": plain(measured),
        "simulated": "" if simulated is None else plain(simulated),
        "ratio": "" if simulated is None else plain(simulated / measured),
        "fitted": "yes" if fitted else "",
    }
    line = f"{part} | {row['seconds']} s | {row['simulated']} s | {row['ratio']} | {row['fitted']}"
    _report(options, "scale", subject, row, line)


def plain(value: float) -> str:
    """A number with three significant digits, without commas or powers of ten.

    >>> plain(1234567), plain(32.84), plain(0.8), plain(0.00366)
    ('1230000', '32.8', '0.8', '0.00366')
    """
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


def _spread(name: str, figures: Sequence[float]) -> dict[str, str]:
    """The smallest and the largest of several turns; nothing for one."""
    if len(figures) < 2:
        return {}
    return {f"{name}_low": plain(min(figures)), f"{name}_high": plain(max(figures))}


def _with_spread(row: Mapping[str, str], name: str) -> str:
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return f"{row[name]} ({low} to {high})" if low else row[name]


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


def _report(
    options: argparse.Namespace,
    name: str,
    subject: Subject,
    row: Mapping[str, str],
    line: str,
) -> None:
    """Prints a line; with --write puts the row into a file in place of the same measurement."""
    versions = [f"{package} {importlib.metadata.version(package)}" for package in subject.packages]
    whole = {
        "stage": subject.stage,
        "setting": subject.setting,
        **row,
        "date": str(datetime.date.today()),
        "machine": f"{_cpu()}, {os.cpu_count()} cores",
        "shared": "yes" if options.shared else "",
        "versions": ", ".join(versions),
    }
    where = f"{whole['date']}, {whole['machine']}{', machine shared' if options.shared else ''}"
    line = f"{subject} | {line} | {row.get('note') or '-'} | {where}; {whole['versions']}"
    print(f"| {line} |", flush=True)
    if options.write:
        put_rows(REPOSITORY, name, [whole])
        write_tables(REPOSITORY)


def _cpu() -> str:
    """The processor's name and widest instructions for numbers, where Linux tells them."""
    name, instructions = processor()
    widest = [text for flag, text in _INSTRUCTIONS.items() if flag in instructions][:1]
    return " with ".join([name or platform.machine(), *widest])
