"""Disturbs runs in every way and prints what survived: make faults ARGS="--tries=0.1 --seed=1".

Every fault happens to a real process. It is survived when the run, started again by the same
command, ends with the bits of an undisturbed run, or when it ends with the plain error that the
fault calls for.
"""

import argparse
import pathlib
import signal
import sys
import tempfile
import time

import numpy as np

from faults import damage, disks, kills, others, runs

FAULTS = {
    "kill -9 at random moments, up to three times": (20, kills.kill_at_random),
    **{f"kill -9: {moment}": (2, kills.kill_in(moment)) for moment in kills.MOMENTS},
    "kill -9: evaluation": (2, kills.kill_evaluation),
    "kill -9: export": (2, kills.kill_export),
    "SIGTERM: extraction": (2, kills.end_in(signal.SIGTERM, "extraction")),
    "SIGTERM: training": (1, kills.end_in(signal.SIGTERM, "training")),
    "SIGINT: extraction": (1, kills.end_in(signal.SIGINT, "extraction")),
    "SIGUSR1: save and go on": (1, kills.save_on_request),
    "disk full at the start": (1, disks.fill("100k")),
    "disk full in the first epoch": (1, disks.fill("3m")),
    "disk full later": (2, disks.fill("6m")),
    "disk read-only": (1, disks.become_read_only),
    "newest checkpoint damaged": (6, damage.damage_newest),
    "all checkpoints damaged": (1, damage.damage_all),
    "images lost while it trains": (2, others.lose_images),
    "too many images lost": (1, others.lose_too_many_images),
    "clock jumps by hours": (1, others.let_the_clock_jump),
    "second process, dead owner": (1, others.start_a_second_process),
}
NEED_A_FINISHED_RUN = (kills.kill_evaluation, kills.kill_export)


def main() -> None:
    """Runs all faults, prints a line for each, and exits with 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--seed", type=int, default=1, help="of all random moments and places")
    parser.add_argument("--tries", type=float, default=1, help="factor of the number of tries")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    options = parser.parse_args()
    lost_any = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = runs.write_images(folder / "textures.npz")
        runs.ended(runs.start(data, folder / "whole"), 0)
        whole = runs.result(folder / "whole")
        print(f"{'fault':46} tries  survived  lost  seconds", flush=True)
        for number, (fault, (tries, function)) in enumerate(FAULTS.items()):
            if options.only not in fault:
                continue
            if function.__module__ == "faults.disks" and not disks.may_mount(folder / "try"):
                print(f"{fault:46} not tried: it takes the right to mount", flush=True)
                continue
            extra = [folder / "whole"] if function in NEED_A_FINISHED_RUN else []
            tries = max(1, round(tries * options.tries))
            survived, started = 0, time.monotonic()
            for turn in range(tries):
                place = folder / f"{number}-{turn}"
                place.mkdir()
                rng = np.random.default_rng([options.seed, number, turn])
                try:
                    function(data, whole, place, rng, *extra)
                    survived += 1
                except Exception as error:
                    print(f"{fault}, try {turn}: {error}", file=sys.stderr, flush=True)
            lost_any |= survived < tries
            seconds = time.monotonic() - started
            print(
                f"{fault:46} {tries:5}  {survived:8}  {tries - survived:4}  {seconds:7.0f}",
                flush=True,
            )
    sys.exit(lost_any)


if __name__ == "__main__":
    main()
