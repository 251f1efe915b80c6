"""kill -9 and signals at moments of all stages."""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import tensorflow as tf

from faults.runs import REPOSITORY, assert_goes_on, ended, start, wait_for

# Where a moment is seen from outside: a folder of the run and what appears in it. Extraction and
# k-means follow a checkpoint of an epoch's end; files in writing have hidden names.
MOMENTS = {
    "inspection and start": (".", "manifest.csv"),
    "extraction": ("checkpoints", "epoch-0001"),
    "training": ("checkpoints", "epoch-0002-step-*"),
    "saving": ("checkpoints", ".epoch-*"),
    "assignments": ("assignments", ".epoch-*"),
    "final model": (".", ".model.*"),
}


def kill_at_random(data, whole, folder, rng) -> None:
    """kill -9 at a random moment, up to three times, before the run may end."""
    for _ in range(rng.integers(1, 4)):
        process = start(data, folder / "run")
        deadline = time.monotonic() + rng.uniform(2, 25)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert_goes_on(data, folder / "run", whole)


def kill_in(moment):
    """kill -9 at a moment of `MOMENTS`, or up to half a second later."""

    def fault(data, whole, folder, rng) -> None:
        inside, pattern = MOMENTS[moment]
        process = start(data, folder / "run")
        wait_for(process, folder / "run" / inside, pattern)
        if not pattern.startswith("."):
            time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert_goes_on(data, folder / "run", whole)

    return fault


def end_in(number, moment):
    """SIGTERM or SIGINT at a moment: saved and ended within ten seconds, with its code."""

    def fault(data, whole, folder, rng) -> None:
        inside, pattern = MOMENTS[moment]
        process = start(data, folder / "run")
        wait_for(process, folder / "run" / inside, pattern)
        time.sleep(rng.uniform(0, 0.5))
        sent = time.monotonic()
        process.send_signal(number)
        printed = ended(process, 128 + number)
        assert time.monotonic() - sent < 10, "it took more than ten seconds"
        assert f"Stopped by {number.name}" in printed
        assert_goes_on(data, folder / "run", whole)

    return fault


def save_on_request(data, whole, folder, rng) -> None:
    """SIGUSR1 saves and the run goes on, to the same end."""
    process = start(data, folder / "run", "--checkpoint_every_steps=0")
    wait_for(process, folder / "run" / "checkpoints", "epoch-0001")
    process.send_signal(signal.SIGUSR1)
    wait_for(process, folder / "run" / "checkpoints", "epoch-0002-step-*")
    ended(process, 0)
    assert_goes_on(data, folder / "run", whole)


def _finished_run(folder, finished) -> pathlib.Path:
    shutil.copytree(finished, folder / "run")
    return folder / "run"


def kill_evaluation(data, whole, folder, rng, finished) -> None:
    """kill -9 of evaluate.py; the next one gives the figures of an undisturbed one."""
    run_dir = _finished_run(folder, finished)
    command = [sys.executable, "evaluate.py", f"--run_dir={run_dir}", "--baseline="]

    def evaluate(seconds=None):
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if seconds is None:
            lines = ended(process, 0).splitlines()
            return [line for line in lines if line.startswith("trained")]
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None

    expected = evaluate()
    evaluate(rng.uniform(2, 15))
    assert len(expected) == 1 and evaluate() == expected


def kill_export(data, whole, folder, rng, finished) -> None:
    """kill -9 while the model is written: no half version is left, and the next export is whole."""
    run_dir, out = _finished_run(folder, finished), folder / "out"
    export_to = [f"--run_dir={run_dir}", f"--out={out}"]

    def export():
        return subprocess.Popen(
            [sys.executable, "-m", "dc_keras.serving.export", *export_to],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = export()
    wait_for(process, out, ".1.*")
    time.sleep(rng.uniform(0, 1))
    process.kill()
    process.communicate()
    assert not [path for path in out.iterdir() if path.name == "1"]
    ended(export(), 0)

    assert tf.saved_model.contains_saved_model(str(out / "1"))
