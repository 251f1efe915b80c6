"""Trains a named set of configurations with several seeds and compares what they learned.

    python -m benchmarks.learning.run --set=ablation --data_dir=cifar10/train \
        --test_dir=cifar10/test --images=50000 --seeds=1,2,3 --out=OUT

Every configuration sees as many training images. OUT/trials.jsonl gets a line a trial; a trial that
is there already is not run again. Tables, plots and OUT/learning.csv, with rows for docs/data, are
made anew from it at the end, or alone with --images=0. Data sets: docs/data_sets.md.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from absl import app, flags

from benchmarks.learning.report import write_report
from benchmarks.learning.sets import SETS, SMALL
from dc_keras.data.sources.open import open_source

_SET = flags.DEFINE_enum("set", "ablation", list(SETS), "Configurations to compare.")
_DATA = flags.DEFINE_string("data_dir", None, "Labelled images to train on, without the labels.")
_TEST = flags.DEFINE_string("test_dir", None, "Labelled images to test on.")
_IMAGES = flags.DEFINE_integer("images", 50000, "Training images that each trial sees.")
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds; one trial each.")
_JOBS = flags.DEFINE_integer("jobs", os.cpu_count(), "Trials at a time, on one thread each.")
_POINTS = flags.DEFINE_integer("points", 1, "How often to measure a trial, for the curves.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results.")
_EXTRA = flags.DEFINE_string("flags", "", "More flags of train.py for every trial.")
flags.mark_flags_as_required(["data_dir", "test_dir", "out"])


def run_trial(name: str, changes: Sequence[str], seed: str, epochs: int) -> dict:
    """Runs one trial in a process of its own; raises with its output if it fails."""
    run_dir = tempfile.mkdtemp(prefix="trial-")
    settings = [*SMALL, *_EXTRA.value.split(), f"--epochs={epochs}", *changes, f"--seed={seed}"]
    settings += [f"--data_dir={_DATA.value}", f"--run_dir={run_dir}/run"]
    program = [sys.executable, "-m", "benchmarks.learning.trial"]
    one_thread = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    try:
        done = subprocess.run(
            [*program, _TEST.value, str(_POINTS.value), *settings],
            env={**os.environ, **dict.fromkeys(one_thread, "1")},
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(run_dir)
    if done.returncode:
        raise RuntimeError(f"{name}, seed {seed}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return {"name": name, "seed": seed, "flags": settings[:-2], **result}


def main(_) -> None:
    """Runs the trials that are missing and writes the comparison."""
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    trials = out / "trials.jsonl"
    known = (
        [json.loads(line) for line in trials.read_text().splitlines()] if trials.exists() else []
    )
    done = {(trial["name"], trial["seed"]) for trial in known}
    epochs = round(_IMAGES.value / len(open_source(_DATA.value)))

    def run(item: tuple[str, str]) -> None:
        name, seed = item
        trial = run_trial(name, SETS[_SET.value][name], seed, epochs)
        with open(trials, "a") as file:
            file.write(json.dumps(trial) + "\n")
        known.append(trial)
        print(f"{name}, seed {seed}: {trial['seconds']:.0f} s", flush=True)

    wanted = [(name, seed) for seed in _SEEDS.value for name in SETS[_SET.value]]
    if epochs:
        with ThreadPoolExecutor(_JOBS.value) as pool:
            list(pool.map(run, [item for item in wanted if item not in done]))
    write_report(known, list(SETS[_SET.value]), out)
    print((out / "table.md").read_text())


if __name__ == "__main__":
    app.run(main)
