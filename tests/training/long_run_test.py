"""What a process holds on to while it trains for hundreds of epochs."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

import textures
from repository import REPOSITORY
from tiny import FLAGS

EPOCHS = 200
# Seen: 14 MB over 150 epochs. What holds on to the images or the network of an epoch takes more.
MEMORY_BOUND_MB = 40


def resident_mb(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


@pytest.mark.slow
@pytest.mark.long
def test_memory_files_and_logs_over_200_epochs(tmp_path):
    images, labels = textures.textures(16)
    np.savez(tmp_path / "textures.npz", images=images, labels=labels)
    run = tmp_path / "run"
    arguments = [
        *FLAGS,
        *("--mode=improved", f"--epochs={EPOCHS}"),
        *(f"--data_dir={tmp_path}/textures.npz", f"--run_dir={run}"),
    ]
    with (
        open(tmp_path / "errors", "w") as errors,
        subprocess.Popen(
            [sys.executable, "train.py", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        seen = {}
        while process.poll() is None:
            try:
                epoch = len((run / "metrics.jsonl").read_text().splitlines())
                files = len(list(pathlib.Path(f"/proc/{process.pid}/fd").iterdir()))
                logs = sum(path.stat().st_size for path in (run / "tensorboard").iterdir())
                seen[epoch] = (resident_mb(process), files, logs)
            except FileNotFoundError:
                pass
            time.sleep(0.05)
    assert process.returncode == 0, (tmp_path / "errors").read_text()

    def between(first, last):
        chosen = [figures for epoch, figures in seen.items() if first <= epoch < last]
        assert len(chosen) > 5, sorted(seen)
        return np.median(chosen, axis=0)

    early, late = between(40, 60), between(EPOCHS - 20, EPOCHS)
    print(f"epochs 40-60 and the last 20: {early} and {late} (MB, open files, bytes of logs)")
    assert late[0] - early[0] < MEMORY_BOUND_MB
    assert abs(late[1] - early[1]) <= 2
    # 20 sets of pictures in all, and figures for each epoch.
    assert (late[2] - early[2]) / (EPOCHS - 60) < 40_000
