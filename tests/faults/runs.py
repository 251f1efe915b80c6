"""Small deterministic runs in processes of their own, to be disturbed and compared."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np

import textures
from dc_keras.training.run_state import RunDirectory

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
FLAGS = (
    "--image_size=32 --width=0.0625 --num_clusters=6 --pca_dim=16 --epochs=2 --batch_size=4 "
    "--crop_min_area=0.5 --mode=improved --deterministic --checkpoint_every_steps=7"
).split()
IMAGES = 400


def write_images(path: pathlib.Path) -> pathlib.Path:
    """Writes the images of these runs as an .npz file; returns its path."""
    images, labels = textures.textures(IMAGES // 4)
    np.savez(path, images=images, labels=labels)
    return path


def start(data, run_dir, *flags, environment=None) -> subprocess.Popen:
    """Starts train.py on its data."""
    return subprocess.Popen(
        [sys.executable, "train.py", *FLAGS, *flags, f"--data_dir={data}", f"--run_dir={run_dir}"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process, folder, pattern) -> None:
    """Waits until a file of such a name is in a folder; fails if the process ends before."""
    deadline = time.monotonic() + 240
    while not list(pathlib.Path(folder).glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.001)


def ended(process, code) -> str:
    """Waits for a process that must end with a code; returns all that it printed."""
    out, err = process.communicate(timeout=1800)
    assert process.returncode == code, f"exit code {process.returncode}:\n{out}{err}"
    assert "Traceback" not in err, err
    return out + err


def result(run_dir) -> dict[str, np.ndarray]:
    """All that a run computed, without times."""
    run = RunDirectory(run_dir)
    found = {path.name: np.load(path) for path in run.assignments.iterdir()}
    for path in run.newest_checkpoints()[0].glob("*.npz"):
        with np.load(path) as arrays:
            found |= {f"{path.name}/{name}": arrays[name] for name in arrays}
    for record in run.read_metrics():
        kept = {n: v for n, v in record.items() if n not in ("seconds", "images_per_second")}
        found[f"epoch {record['epoch']}"] = np.array(json.dumps(kept, sort_keys=True))
    found["clusters.csv"] = np.array((run.model / "clusters.csv").read_text())
    return found


def assert_same(found: dict, expected: dict) -> None:
    """Compares two results bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def assert_goes_on(data, run_dir, whole) -> str:
    """The same command must end the run with the result of the undisturbed one."""
    printed = ended(start(data, run_dir), 0)
    assert_same(result(run_dir), whole)
    return printed
