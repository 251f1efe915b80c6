"""What a trial hands over for the comparison."""

import json
import subprocess
import sys

import numpy as np
import pytest

import textures
from repository import REPOSITORY
from tiny import FLAGS


def last_line(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.learning.{program}", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files of training and test images."""
    folder = tmp_path_factory.mktemp("textures")
    for name, seed in (("train", 0), ("test", 1)):
        pixels, labels = textures.textures(16, seed=seed)
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)
    return folder / "train.npz", folder / "test.npz"


@pytest.mark.slow
@pytest.mark.long
def test_a_trial_trains_and_measures(images, tmp_path):
    train, test = images
    result = last_line(
        "trial", test, 2, *FLAGS, f"--data_dir={train}", f"--run_dir={tmp_path / 'run'}"
    )
    assert [record["epoch"] for record in result["epochs"]] == [1, 2]
    assert [point["images"] for point in result["curve"]] == [64, 128]
    # 64 images an epoch and a third of that for features, once more at the end.
    assert [point["compute"] for point in result["curve"]] == [107, 192]
    assert result["compute"] == 192
    assert result["curve"][-1]["figures"] == result["figures"]
    assert all(0 <= result["figures"][name] <= 1 for name in ("probe_best", "knn_pool1", "nmi"))
    # Two starts of k-means find much the same clusters, but not the very same.
    assert 0.3 < result["figures"]["seeds_agree"] <= 1


@pytest.mark.slow
@pytest.mark.long
def test_a_network_without_training_is_measured(images, tmp_path):
    train, test = images
    run = tmp_path / "run"
    flags = [*FLAGS, "--epochs=0", f"--data_dir={train}", f"--run_dir={run}"]
    result = last_line("trial", test, 1, *flags)
    assert result["epochs"] == []
    assert [(point["images"], point["compute"]) for point in result["curve"]] == [(0, 0)]
    assert 0 <= result["figures"]["probe_fc7"] <= 1
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.long
def test_plain_pytorch_is_measured_in_the_same_way(torch, tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        textures.write_folders(tmp_path / name, *textures.textures(16, seed=seed))
    flags = ["--width=0.0625", "--num_clusters=6", "--epochs=2", "--batch_size=16"]
    result = last_line("yardstick", tmp_path / "train", tmp_path / "test", *flags)
    assert result["flags"] == flags
    assert all(0 <= result["figures"][name] <= 1 for name in ("probe_best", "knn_fc7", "nmi"))
