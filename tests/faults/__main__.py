"""Disturbs runs in every way and prints what survived: make faults ARGS="--tries=0.1 --seed=1".

Every fault happens to a real process. It is survived when the same command then ends the run with
the bits of an undisturbed one, or when the program ends with the plain error that the fault calls
for. Faults that can be repaired are repaired, and the same command must end the run as well.
"""

import argparse
import concurrent.futures
import pathlib
import re
import signal
import sys
import tempfile
import time
import traceback

from dc_keras.process import load_libraries_quietly
from faults import clocks, damage, disks, images, kills, processes, runs, signals
from faults.runs import goes_on

SAVES = (
    "checkpoints/.epoch-0001-step-*",
    "checkpoints/.epoch-0001.*",
    "checkpoints/.epoch-0002-step-*",
    "checkpoints/.epoch-0002.*",
    "assignments/.epoch-*",
    ".model.*",
)
# What happens to which run: tries, and the function.
IMPROVED = {
    "kill -9: 1 to 3 random moments": (6, goes_on(kills.kill_at_random)),
    "kill -9: start": (2, goes_on(kills.kill_while("manifest.csv"))),
    "kill -9: extraction": (4, goes_on(kills.kill_in("extraction"))),
    "kill -9: k-means": (4, goes_on(kills.kill_in("k-means"))),
    "kill -9: training": (4, goes_on(kills.kill_in("training"))),
    "kill -9: in the middle of a save": (6, goes_on(kills.kill_while(*SAVES))),
    "kill -9: k-means, save, training": (
        2,
        goes_on(
            kills.kill_in("k-means"),
            kills.kill_while("checkpoints/.epoch-*"),
            kills.kill_in("training"),
        ),
    ),
    "kill -9: evaluation": (3, kills.kill_evaluation),
    "kill -9: export": (3, kills.kill_export),
    **{
        f"{number.name}: {stage}": (1, goes_on(signals.end_in(number, stage)))
        for number in (signal.SIGTERM, signal.SIGINT)
        for stage in ("extraction", "k-means", "training")
    },
    "SIGINT: start": (1, goes_on(signals.end_at_the_start(signal.SIGINT))),
    "SIGTERM: in the middle of a save": (2, goes_on(signals.end_while_saving(signal.SIGTERM))),
    "SIGINT, then SIGTERM: at once": (1, goes_on(signals.end_at_the_second)),
    "SIGUSR1: extraction": (1, signals.save_on_request("extraction")),
    "SIGUSR1: k-means": (1, signals.save_on_request("k-means")),
    "SIGUSR1: training": (1, signals.save_on_request("training")),
    "damaged: a file of the newest checkpoint": (7, damage.damage_newest),
    "damaged: all but the oldest checkpoint": (2, damage.damage_all_but_the_oldest),
    "damaged: all checkpoints": (3, damage.damage_all),
    "damaged: checkpoints gone": (1, damage.lose_all),
    "damaged: for evaluation and export": (3, damage.damage_for_the_others),
    "images lost while it trains": (2, images.lose_some),
    "images lost while it is stopped": (1, images.lose_some_between),
    "too many images lost": (1, images.lose_too_many),
    "clock jumps by hours": (1, clocks.jump),
    "second process, dead owner": (1, goes_on(processes.start_a_second)),
    "two processes at once": (1, processes.start_two_at_once),
}
ON_DISKS = {
    "disk full: at the start": (1, disks.full_at_the_start),
    "disk full: first checkpoint": (1, disks.full_in("checkpoints")),
    "disk full: a later checkpoint": (2, disks.full_after_a_checkpoint),
    "disk full: assignments": (1, disks.full_in("assignments")),
    "disk full: TensorBoard": (1, disks.full_in("tensorboard")),
    "disk full: metrics": (1, disks.full_at("flags.cfg", "metrics.jsonl")),
    "disk full: final model": (1, disks.full_at("checkpoints/epoch-0002", "run/model")),
    "disk full: evaluation": (1, disks.full_for_evaluation),
    "disk full: export": (2, disks.full_for_export),
    "read-only: at the start": (1, disks.read_only_at_the_start),
    "read-only: when it goes on": (1, disks.read_only_when_it_goes_on),
    "read-only: checkpoints meanwhile": (2, disks.read_only_meanwhile("checkpoints")),
    "read-only: assignments meanwhile": (1, disks.read_only_meanwhile("assignments")),
    "read-only: evaluation": (1, disks.read_only_for_evaluation),
    "read-only: export": (1, disks.read_only_for_export),
}
PAPER = {"paper's mode, kill -9: 1 to 3 random moments": (4, goes_on(kills.kill_at_random))}
QUICKSTART = {
    f"quickstart's size, SIGTERM: {stage}": (1, goes_on(signals.end_in(signal.SIGTERM, stage)))
    for stage in ("extraction", "k-means", "training")
}


def main() -> None:
    """Runs all faults, prints a line for each, and exits with 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--seed", type=int, default=1, help="of all random moments and places")
    parser.add_argument("--tries", type=float, default=1, help="factor of the number of tries")
    parser.add_argument("--only", default="", help="faults that match this pattern")
    parser.add_argument("--jobs", type=int, default=2, help="tries at a time")
    options = parser.parse_args()
    load_libraries_quietly()
    with (
        tempfile.TemporaryDirectory() as name,
        concurrent.futures.ThreadPoolExecutor(options.jobs) as pool,
    ):
        started = time.monotonic()
        lost = _run(options, pathlib.Path(name), pool)
        print(f"\nLost: {lost}. {(time.monotonic() - started) / 60:.0f} minutes")
    sys.exit(lost > 0)


def _run(options, folder: pathlib.Path, pool) -> int:
    """Has all faults happen and prints the table; returns how many tries were lost."""
    may_mount = disks.may_mount(folder / "disk")
    textures = runs.write_images(folder / "textures.npz")
    groups = [
        (textures, runs.IMPROVED, IMPROVED | (ON_DISKS if may_mount else {})),
        (textures, runs.PAPER, PAPER),
        ("sklearn:digits", runs.QUICKSTART, QUICKSTART),
    ]
    rows = []
    for number, (data, flags, faults) in enumerate(groups):
        chosen = {fault: what for fault, what in faults.items() if re.search(options.only, fault)}
        if not chosen:
            continue
        undisturbed = runs.Undisturbed.run(data, flags, folder / f"undisturbed-{number}" / "run")
        for fault, (tries, function) in chosen.items():
            place = folder / f"{len(rows)}"
            seed = (options.seed, len(rows))
            turns = [
                pool.submit(runs.strike, function, undisturbed, place, turn, seed)
                for turn in range(max(1, round(tries * options.tries)))
            ]
            rows.append((fault, turns))
    width = max((len(fault) for fault, _ in rows), default=5)
    print(f"| {'fault':{width}} | tries | survived | lost |", flush=True)
    print(f"| {'---':{width}} | ----: | -------: | ---: |", flush=True)
    all_lost = 0
    for fault, turns in rows:
        errors = [(turn, future.exception()) for turn, future in enumerate(turns)]
        errors = [(turn, error) for turn, error in errors if error is not None]
        for turn, error in errors:
            print(f"\n{fault}, try {turn}:", file=sys.stderr)
            traceback.print_exception(error, file=sys.stderr)
        tries, lost = len(turns), len(errors)
        all_lost += lost
        print(f"| {fault:{width}} | {tries:5} | {tries - lost:8} | {lost:4} |", flush=True)
    if not may_mount:
        print("\nNot tried: full and read-only disks, which take the right to mount")
    return all_lost


if __name__ == "__main__":
    main()
