"""Compares ways to do the same, turn by turn, so that a busy machine slows all alike.

Only the ratio is worth keeping: each turn runs every contender once, the ratio is that of the
medians, and its spread is that of the turns' own ratios.
"""

import argparse
import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dc_keras.files import write_atomically
from dc_keras.runtime import computes_in_bfloat16, processor

RESULTS = pathlib.Path(__file__).parent.parent / "docs" / "benchmarks.md"
# Runnable processes a minute before the start, above which others were using the machine.
_QUIET_LOAD = 0.5
# A processor's name alone ("AMD EPYC") does not tell whether 16-bit numbers gain anything.
_INSTRUCTIONS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}


def arguments(description: str, turns: int = 3) -> argparse.Namespace:
    """Reads --quick, --write and --turns.

    Args:
        description: The benchmark's docstring.
        turns: How often each contender runs, unless told otherwise.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works")
    parser.add_argument("--write", action="store_true", help=f"write rows to {RESULTS.name}")
    parser.add_argument("--turns", type=int, default=turns, help="how often each contender runs")
    found = parser.parse_args()
    found.shared = os.getloadavg()[0] > _QUIET_LOAD
    if found.turns < 1:
        parser.error(f"--turns must be at least 1, received {found.turns}")
    if found.quick and found.write:
        parser.error("--quick sizes are not worth writing down: leave out --quick or --write")
    return found


def precisions() -> tuple[str, ...]:
    """What is worth comparing: bfloat16 not where the processor only imitates it.

    PyTorch then takes twenty times as long as in float32, and hours would tell nothing else.
    """
    if computes_in_bfloat16() is False:
        return ("float32",)
    return ("float32", "mixed_bfloat16")


def rates(
    contenders: Mapping[str, Callable[[], float]], turns: int, *, seconds: float = 0.0
) -> dict[str, np.ndarray]:
    """Runs all contenders turn by turn.

    Args:
        contenders: Functions that do some work and return how many items it was.
        turns: How often.
        seconds: In its turn a contender does its work again until so much time has passed.

    Returns:
        Items a second of each, float64 `(turns,)`.
    """

    def rate(work: Callable[[], float]) -> float:
        started = time.perf_counter()
        items = work()
        while (passed := time.perf_counter() - started) < seconds:
            items += work()
        return items / passed

    return in_turn(
        {name: functools.partial(rate, work) for name, work in contenders.items()}, turns
    )


def in_turn(contenders: Mapping[str, Callable[[], float]], turns: int) -> dict[str, np.ndarray]:
    """Asks all contenders for a figure, turn by turn.

    Args:
        contenders: Functions that measure something of themselves.
        turns: How often.

    Returns:
        The figures of each, float64 `(turns,)`.
    """
    found = {name: [] for name in contenders}
    for _ in range(turns):
        for name, measure in contenders.items():
            found[name].append(measure())
    return {name: np.array(values) for name, values in found.items()}


def ratio(ours: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """How many times faster ours is: the ratio of medians, and the turns' smallest and largest."""
    by_turn = ours / other
    return float(np.median(ours) / np.median(other)), float(by_turn.min()), float(by_turn.max())


def report(
    options: argparse.Namespace,
    what: str,
    measured: Mapping[str, np.ndarray],
    unit: str,
    *,
    goals: Mapping[str, float],
    packages: Sequence[str],
    note: str = "",
) -> None:
    """Prints a row for each other contender; with --write they replace those of before.

    Args:
        options: What `arguments` returned.
        what: The stage and its sizes.
        measured: What `rates` returned, with a contender named "ours".
        unit: Such as "images/s".
        goals: Ratio to reach against other contenders, where there is a goal.
        packages: Distributions whose versions matter.
        note: What else was found.
    """
    for name in sorted(measured.keys() - {"ours"}):
        middle, low, high = ratio(measured["ours"], measured[name])
        verdict = "-"
        if name in goals:
            verdict = f"{goals[name]:g}: {'reached' if middle >= goals[name] else 'missed'}"
        report_row(
            options,
            what,
            name,
            f"{_short(measured['ours'])} : {_short(measured[name])} {unit}",
            f"{middle:.3g} ({low:.3g} to {high:.3g})",
            verdict,
            note,
            packages,
        )


def report_row(
    options: argparse.Namespace,
    what: str,
    against: str,
    figures: str,
    compared: str,
    verdict: str,
    note: str,
    packages: Sequence[str],
) -> None:
    """Prints one row; with --write it replaces that of the same stage, contender and machine.

    Args:
        options: What `arguments` returned.
        what: The stage and its sizes.
        against: The other contender.
        figures: Of both.
        compared: Their ratio and its spread.
        verdict: The goal, and whether it was reached.
        note: What else was found.
        packages: Distributions whose versions matter.
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    machine = f"{_cpu()}, {os.cpu_count()} cores"
    shared = ", machine shared" if options.shared else ""
    cells = [what, against, figures, compared, verdict, note or "-"]
    row = f"| {' | '.join(cells)} | {datetime.date.today()}, {machine}{shared}; {versions} |"
    print(row, flush=True)
    if options.write:
        lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        same = f"| {what} | {against} |"
        kept = [line for line in lines if not (line.startswith(same) and f", {machine}" in line)]
        with write_atomically(RESULTS) as file:
            file.writelines(f"{line}\n" for line in [*kept, row])


def _short(values: np.ndarray) -> str:
    value = float(np.median(values))
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def _cpu() -> str:
    """The processor's name and widest instructions for numbers, where Linux tells them."""
    name, instructions = processor()
    widest = [text for flag, text in _INSTRUCTIONS.items() if flag in instructions][:1]
    return " with ".join([name or platform.machine(), *widest])
