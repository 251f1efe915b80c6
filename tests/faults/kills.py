"""kill -9 at random moments and in each stage, of all programs."""

import json
import pathlib
import shutil
import time

import numpy as np
import tensorflow as tf

import textures
from faults.runs import Case, Missed, Program, Undisturbed, once


def kill_at_random(case: Case) -> None:
    """Up to three kills of one run, each at a random moment of its whole time."""
    kills = 0
    for _ in range(case.rng.integers(1, 4)):
        with case.start() as process:
            deadline = time.monotonic() + case.rng.uniform(0, case.undisturbed.seconds)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            if process.poll() is None:
                process.kill_now()
                kills += 1
    if not kills:
        raise Missed


def kill_in(stage):
    """A kill within "extraction", "k-means" or "training", of any turn of the loop."""

    def disturb(case: Case) -> None:
        with case.start(terminal=True) as process:
            case.reach_stage(process, stage, clusterings=2 if stage == "training" else 3)
            process.kill_now()

    return disturb


def kill_while(*patterns):
    """A kill while there is a file of such a name in the run; with each try, the next pattern."""

    def disturb(case: Case) -> None:
        with case.start() as process:
            case.reach_file(process, patterns[case.turn % len(patterns)])
            process.kill_now()

    return disturb


def finished_run(case: Case) -> pathlib.Path:
    """A copy of the undisturbed run."""
    return shutil.copytree(case.undisturbed.run_dir, case.run_dir)


def evaluation(run_dir) -> Program:
    """Starts evaluate.py."""
    return Program("evaluate.py", f"--run_dir={run_dir}", "--baseline=")


def figures(run_dir) -> dict:
    """What evaluate.py found."""
    return json.loads((run_dir / "evaluation" / "report.json").read_text())["rows"]


@once
def undisturbed_figures(undisturbed: Undisturbed) -> tuple[dict, float]:
    """What an undisturbed evaluation finds, and how long it takes."""
    run_dir = shutil.copytree(undisturbed.run_dir, undisturbed.run_dir.parent / "evaluated")
    started = time.monotonic()
    with evaluation(run_dir) as process:
        process.ended(0)
    return figures(run_dir), time.monotonic() - started


def kill_evaluation(case: Case) -> None:
    """A kill at a random moment; the next evaluation gives the undisturbed figures."""
    expected, seconds = undisturbed_figures(case.undisturbed)
    run_dir = finished_run(case)
    with evaluation(run_dir) as process:
        time.sleep(case.rng.uniform(0, seconds))
        process.kill_now()
    with evaluation(run_dir) as process:
        process.ended(0)
    assert figures(run_dir) == expected


def export(run_dir, out) -> Program:
    """Starts the export."""
    return Program("-m", "dc_keras", "export", f"--run_dir={run_dir}", f"--out={out}")


def served_features(version) -> np.ndarray:
    """Features of some images by an exported model."""
    model = tf.saved_model.load(str(version))
    images = tf.constant(textures.textures(2)[0])
    return model.signatures["features_uint8"](images=images)["features"].numpy()


@once
def undisturbed_features(undisturbed: Undisturbed) -> np.ndarray:
    """Features by an undisturbed export."""
    out = undisturbed.run_dir.parent / "exported"
    with export(undisturbed.run_dir, out) as process:
        process.ended(0)
    return served_features(out / "1")


def kill_export(case: Case) -> None:
    """A kill while the model is written: no half version is left, and the next export is whole."""
    expected = undisturbed_features(case.undisturbed)
    out = case.folder / "out"
    with export(case.undisturbed.run_dir, out) as process:
        process.wait_for(out, ".1.*")
        time.sleep(case.rng.uniform(0, 0.5))
        process.kill_now()
    # TensorFlow Serving takes every folder whose name is a number.
    if (out / "1").exists():
        np.testing.assert_array_equal(served_features(out / "1"), expected)
        raise Missed
    with export(case.undisturbed.run_dir, out) as process:
        process.ended(0)
    np.testing.assert_array_equal(served_features(out / "1"), expected)
