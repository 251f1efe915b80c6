"""Several workers as real processes on loopback: what one machine does, and what happens to them.

One machine with as many replicas is what they are compared with: batch norm has statistics of a
replica's part of a batch, so that their number belongs to the method.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dc_keras.programs.train import WORKER_LOST
from dc_keras.runs.run_directory import RunDirectory
from marks import LONG
from repository import REPOSITORY
from tiny import FLAGS
from worker_processes import WorkerProcesses, train_together

# Others end within this many seconds of one that was killed; a heartbeat is due every 10.
SOON = 60


def train_alone(run_dir, *flags):
    """The same on one machine."""
    subprocess.run(
        [sys.executable, "train.py", *FLAGS, *flags, f"--run_dir={run_dir}"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return RunDirectory(run_dir)


def assert_same(run, other, tolerance=1e-4):
    """Both have the same clusters, weights, momentum and losses after two epochs."""
    for epoch in (1, 2):
        name = f"epoch-{epoch:04d}"
        ours, theirs = (np.load(one.assignments / f"{name}.npy") for one in (run, other))
        np.testing.assert_array_equal(ours, theirs)
    for file in ("weights", "optimizers", "means"):
        ours, theirs = (np.load(one.checkpoints / name / f"{file}.npz") for one in (run, other))
        assert ours.files == theirs.files
        for key in ours.files:
            np.testing.assert_allclose(
                ours[key], theirs[key], rtol=tolerance, atol=tolerance, err_msg=key
            )
    losses = [[record["loss"] for record in one.read_metrics()] for one in (run, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """120 digits as files, by class, and one that is damaged, in the second worker's share."""
    root, digits = tmp_path_factory.mktemp("digits"), load_digits()
    for i in range(120):
        path = root / str(digits.target[i]) / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = (digits.images[i] * 15.9).astype("uint8")
        Image.fromarray(pixels).resize((32, 32)).save(path)
    (root / "9" / "damaged.png").write_bytes(path.read_bytes()[:40])
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    """A run of two workers, what they printed, and its flags."""
    folder = tmp_path_factory.mktemp("two")
    flags = [f"--data_dir={images}", "--dropout=0", "--checkpoint_every_steps=5"]
    flags += ["--keep_checkpoints=9"]
    backup = f"--backup_dir={folder}/copy"
    workers = train_together(folder, [*flags, backup], folder / "run")
    return RunDirectory(folder / "run"), [worker.told() for worker in workers], flags


def test_two_workers_do_what_one_machine_does_with_two_replicas(trained, tmp_path):
    run, _, flags = trained
    alone = train_alone(tmp_path / "run", *flags, "--strategy=mirrored", "--virtual_devices=2")
    assert_same(run, alone)
    ours, theirs = ((one.model / "clusters.csv").read_bytes() for one in (run, alone))
    assert ours == theirs


def test_one_of_them_tells_and_writes(trained):
    run, told, _ = trained
    assert "Worker 1 of 2: begins as soon as all are there with localhost:" in told[0]
    assert "Left out images that cannot be read: 1, listed in" in told[0]
    assert "Training: 2 epochs of 8 steps of 16 images on 2 replicas" in told[0]
    assert f"Done. The network and the cluster of each image are in {run.model}" in told[0]
    assert "Images:" not in told[1]
    assert "What the run does is told by the first worker" in told[1]
    assert "Done. What came of it is in the first worker's" in told[1]
    assert sorted(os.listdir(run.path.parent)) == [
        "copy",
        "run",
        "worker-0.log",
        "worker-1.log",
    ]


@pytest.mark.slow
@pytest.mark.long
def test_the_run_goes_on_from_the_middle_of_an_epoch_where_its_copy_alone_is_left(
    trained, tmp_path
):
    run, _, flags = trained
    shutil.copytree(run.path.parent / "copy", tmp_path / "copy")
    for name in ("epoch-0001", "epoch-0002-step-000005", "epoch-0002"):
        shutil.rmtree(tmp_path / "copy/checkpoints" / name)
    shutil.rmtree(tmp_path / "copy/model")
    backup = f"--backup_dir={tmp_path}/copy"
    workers = train_together(tmp_path, [*flags, backup], tmp_path / "run")
    assert "Going on after step 5 of epoch 1" in workers[0].told()
    assert_same(RunDirectory(tmp_path / "run"), run)


@pytest.mark.slow
@pytest.mark.long
def test_one_machine_goes_on_with_what_several_began(trained, tmp_path):
    run, _, flags = trained
    shutil.copytree(run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/epoch-0002")
    again = train_alone(tmp_path / "run", *flags, "--strategy=mirrored", "--virtual_devices=2")
    assert_same(again, run)


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        # Sums have another order here and there; large steps of small networks make much of it.
        pytest.param(["--batch_size=18", "--learning_rate=0.001"], 3, marks=LONG),
        # Two crops of each image, colours by place in the batch, spherical k-means, neighbours.
        pytest.param(
            ["--mode=improved", "--diffusion_neighbours=3", "--learning_rate=1e-5"], 2, marks=LONG
        ),
        pytest.param(
            ["--sampler=reweight", "--pca_images=40", "--kmeans_max_points=10"], 2, marks=LONG
        ),
        pytest.param(["--arch=compact", "--sobel=false", "--whitened_patches=3"], 2, marks=LONG),
        # All directions count alike, those of rounding, too.
        pytest.param(
            ["--mode=improved", "--optimizer=muon", "--learning_rate=1e-4"], 2, marks=LONG
        ),
    ],
    ids=["three", "improved", "samples", "compact", "muon"],
)
def test_other_settings_and_numbers(images, tmp_path, flags, count):
    flags = [f"--data_dir={images}", "--dropout=0", *flags]
    train_together(tmp_path / "logs", flags, tmp_path / "run", count)
    replicas = ["--strategy=mirrored", f"--virtual_devices={count}"]
    alone = train_alone(tmp_path / "alone", *flags, *replicas)
    assert_same(RunDirectory(tmp_path / "run"), alone, tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_of_one_worker_does_what_one_device_does(images, tmp_path):
    flags = [f"--data_dir={images}", "--dropout=0"]
    train_together(tmp_path / "logs", flags, tmp_path / "run", count=1)
    assert_same(RunDirectory(tmp_path / "run"), train_alone(tmp_path / "alone", *flags))


@pytest.mark.slow
@pytest.mark.long
def test_a_signal_to_one_of_them_saves_and_ends_all(trained, images, tmp_path):
    run, _, flags = trained
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        first, second = processes.start_all()
        checkpoints = tmp_path / "run/checkpoints"
        first.wait_until(lambda: (checkpoints / "epoch-0001-step-000005").exists())
        second.process.send_signal(signal.SIGTERM)
        assert [first.wait(), second.wait()] == [143, 143], first.told() + second.told()
        assert "Stopped by SIGTERM. The same command goes on from here." in first.told()
    train_together(tmp_path / "again", flags, tmp_path / "run")
    assert_same(RunDirectory(tmp_path / "run"), run)


def wait_for_extraction(first, run):
    first.wait_until_told("Run:  ")


def wait_for_training(first, run):
    first.wait_until(lambda: (run / "checkpoints/epoch-0002-step-000005").exists())


@pytest.mark.parametrize("rank", [pytest.param(0, marks=LONG), 1])
@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(wait_for_extraction, marks=LONG),
        wait_for_training,
    ],
)
def test_where_one_is_killed_the_others_end_and_all_go_on(trained, tmp_path, wait, rank):
    run, _, flags = trained
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        workers = processes.start_all()
        wait(workers[0], tmp_path / "run")
        workers[rank].process.kill()
        killed = time.monotonic()
        other = workers[1 - rank]
        assert other.wait(2 * SOON) == WORKER_LOST, other.told()
        assert time.monotonic() - killed < SOON
        assert "train.py: Another worker of the run has ended" in other.told()
        assert "Traceback" not in other.told()
    train_together(tmp_path / "again", flags, tmp_path / "run")
    assert_same(RunDirectory(tmp_path / "run"), run)


@pytest.mark.slow
@pytest.mark.long
def test_where_one_is_killed_while_images_are_clustered_all_go_on(images, tmp_path):
    """In the last clustering, behind the last checkpoint: so many starts take some seconds."""
    flags = [f"--data_dir={images}", "--dropout=0", "--kmeans_starts=100"]
    run = RunDirectory(tmp_path / "run")
    with WorkerProcesses(tmp_path, flags, run.path) as processes:
        first, second = processes.start_all()
        first.wait_until(lambda: (run.checkpoints / "epoch-0002").exists())
        # The features of 120 images take less, of what was traced before.
        time.sleep(1.5)
        second.process.kill()
        assert first.wait(2 * SOON) == WORKER_LOST, first.told()
        assert "train.py: Another worker of the run has ended" in first.told()
        assert not run.model.exists()
    train_together(tmp_path / "again", flags, run.path)
    alone = train_alone(tmp_path / "alone", *flags, "--strategy=mirrored", "--virtual_devices=2")
    assert_same(run, alone)
    ours, theirs = ((one.model / "clusters.csv").read_bytes() for one in (run, alone))
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.long
def test_a_worker_may_come_late(images, tmp_path):
    flags = [f"--data_dir={images}", "--epochs=1"]
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        first = processes.start(0)
        first.wait_until_told("begins as soon as all are there")
        time.sleep(15)
        second = processes.start(1)
        assert [first.wait(), second.wait()] == [0, 0], first.told() + second.told()


def test_other_images_on_one_of_them_are_refused(images, tmp_path):
    others = shutil.copytree(images, tmp_path / "others")
    (others / "3/003.png").rename(others / "3/0035.png")
    flags = [[f"--data_dir={images}"], [f"--data_dir={others}"]]
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        workers = processes.start_all()
        assert [worker.wait() for worker in workers] == [2, 2]
    for worker in workers:
        assert "The workers of a run differ in their images." in worker.told()
        assert "worker 0: 3/003.png (of 121)" in worker.told()
        assert "worker 1: 3/0035.png (of 121)" in worker.told()


@pytest.mark.slow
@pytest.mark.long
def test_other_settings_on_one_of_them_are_refused(images, tmp_path):
    common = f"--data_dir={images}"
    flags = [[common], [common, "--learning_rate=0.1"]]
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        workers = processes.start_all()
        assert [worker.wait() for worker in workers] == [2, 2]
    for worker in workers:
        assert "The workers of a run differ in their settings." in worker.told()
        assert "worker 1: --learning_rate=0.1" in worker.told()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.long
def test_images_that_vanish_while_it_trains_have_stand_ins(images, tmp_path):
    own = shutil.copytree(images, tmp_path / "images")
    flags = [f"--data_dir={own}", "--epochs=12", "--cache=off", "--max_bad_fraction=0.1"]
    with WorkerProcesses(tmp_path, flags, tmp_path / "run") as processes:
        workers = processes.start_all()
        workers[0].wait_until(lambda: (tmp_path / "run/checkpoints/epoch-0002").exists())
        for name in ("0/000.png", "3/003.png", "5/005.png"):
            (own / name).unlink()
        assert [worker.wait() for worker in workers] == [0, 0], workers[0].told()
    assert "Images that cannot be read any more: " in workers[0].told()
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 12


@pytest.mark.slow
@pytest.mark.long
def test_two_groups_do_not_write_into_one_run(images, tmp_path):
    flags = [f"--data_dir={images}", "--epochs=50"]
    with (
        WorkerProcesses(tmp_path / "a", flags, tmp_path / "run") as one,
        WorkerProcesses(tmp_path / "b", flags, tmp_path / "run") as other,
    ):
        first, _ = one.start_all()
        first.wait_until(lambda: (tmp_path / "run/checkpoints/epoch-0001").exists())
        refused, beside = other.start_all()
        assert refused.wait() == 2, refused.told()
        assert "Another process trains in this run directory" in refused.told()
        assert beside.wait(2 * SOON) == WORKER_LOST, beside.told()
        assert first.process.poll() is None
