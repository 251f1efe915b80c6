"""Compares ways to do the same, turn by turn, so that a busy machine slows all alike.

Only the ratio is worth keeping: each turn runs every contender once, the ratio is that of the
medians, and its spread is that of the turns' own ratios.
"""

import argparse
import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping

import numpy as np

from dc_keras.machine import computes_in_bfloat16

# Where data sets are, unless --data_dir tells.
_DATA_SETS = "DC_KERAS_DATA_SETS"
# Runnable processes a minute before the start, above which others were using the machine.
_QUIET_LOAD = 0.5


def arguments(
    description: str, turns: int = 3, *, reads_images: bool = False
) -> argparse.Namespace:
    """Reads --quick, --write, --turns and where needed --data_dir.

    Args:
        description: The benchmark's docstring.
        turns: How often each contender runs, unless told otherwise.
        reads_images: Whether the benchmark needs data sets.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works")
    parser.add_argument("--write", action="store_true", help="put rows into docs/data")
    parser.add_argument("--turns", type=int, default=turns, help="how often each contender runs")
    if reads_images:
        parser.add_argument(
            "--data_dir",
            type=pathlib.Path,
            default=os.environ.get(_DATA_SETS) or None,
            help=f"folder of data sets, see docs/data_sets.md; otherwise ${_DATA_SETS}",
        )
    found = parser.parse_args()
    found.shared = os.getloadavg()[0] > _QUIET_LOAD
    if found.turns < 1:
        parser.error(f"--turns must be at least 1, received {found.turns}")
    if found.quick and found.write:
        parser.error("--quick sizes are not worth writing down: leave out --quick or --write")
    return found


def data_set(options: argparse.Namespace, name: str) -> pathlib.Path | None:
    """Finds a data set; says so where it is not there.

    Args:
        options: What `arguments` returned.
        name: Its folder, as docs/data_sets.md calls it.

    Returns:
        The folder, or None.
    """
    if options.data_dir is None:
        print(f"Left out: reads {name} of a folder of data sets; give --data_dir or ${_DATA_SETS}")
        return None
    folder = options.data_dir / name
    if not folder.is_dir():
        print(f"Left out: {folder} is not there; see docs/data_sets.md")
        return None
    return folder


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
