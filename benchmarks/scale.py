"""Several workers on the cores of this machine, beside one, and beside what simulate_scale says.

    python -m benchmarks.scale --write

Each worker has a core of its own; of three workers on two cores each is taken to have two thirds of
one. Beside them stands one worker that has all cores. The constants come from runs of 1,000 and
10,000 images with one and two workers; the other rows are predicted. Small networks on loopback say
what exchanges cost, and nothing about GPUs.
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.interleaved import arguments
from benchmarks.rows import Subject, report_scale
from benchmarks.simulate_scale import VIEWED, Job, Network, Speed, seconds
from benchmarks.workers import free_addresses, tf_config
from dc_keras.runs.run_directory import RunDirectory
from tools.write_tables import REPOSITORY

SIDE, CLUSTERS, BATCH, DIMENSIONS, FEATURES, PCA_IMAGES = 32, 100, 96, 64, 256, 2000
# Of the images, in a turn: training is not what grows here.
PART, TURNS = 0.1, 3
PACKAGES = ("tensorflow", "keras", "faiss-cpu", "numpy")
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STAGES = ("features", "pca", "kmeans", "train")
# Of a number of images and of workers, the seconds of each stage.
Found = dict[tuple[int, int], dict[str, float]]


def main() -> None:
    """Measures, fits, predicts and compares."""
    options = arguments(__doc__, turns=1)
    sizes = (200, 600) if options.quick else (1000, 10_000, 100_000)
    workers = (1, 2) if options.quick else (1, 2, 3)
    with tempfile.TemporaryDirectory() as folder:
        data = {n: write_images(pathlib.Path(folder) / f"{n}.npz", n) for n in sizes}
        few = train(pathlib.Path(folder) / "few", data[sizes[1]], 1, BATCH // 4)
        print("small batches", few, flush=True)
        found = {}
        for n in sizes:
            for count in workers:
                run_dir = pathlib.Path(folder) / f"run-{n}-{count}"
                found[n, count] = train(run_dir, data[n], count, BATCH)
                print(n, count, found[n, count], flush=True)
        cores = len(os.sched_getaffinity(0))
        own = train(pathlib.Path(folder) / "all", data[sizes[1]], 1, BATCH, cores=cores)
    compare(options, found, few, sizes)
    subject = Subject("turn", f"{sizes[1]:,} images, 1 workers of {cores} cores", PACKAGES)
    for stage, measured in with_whole(own).items():
        report_scale(options, subject, stage, measured)


def compare(
    options: argparse.Namespace, found: Found, few: dict[str, float], sizes: tuple[int, ...]
) -> None:
    """Finds the constants, and reports each case beside what they say."""
    speed = speed_alone(found, few, sizes)
    network = network_between(found, speed, sizes)
    print(speed, network, sep="\n", flush=True)
    for (n, count), measured in found.items():
        predicted = predict(n, count, speed, network)
        fitted = n in sizes[:2] and count in (1, 2)
        subject = Subject("turn", f"{n:,} images, {count} workers", PACKAGES)
        simulated = with_whole(predicted)
        for stage, ours in with_whole(measured).items():
            report_scale(options, subject, stage, ours, simulated[stage], fitted=fitted)


def with_whole(stages: dict[str, float]) -> dict[str, float]:
    """Seconds of all stages together, and of each."""
    return {"whole": sum(stages.values())} | stages


def write_images(path: pathlib.Path, count: int) -> pathlib.Path:
    """Writes images of random stripes, which are as different as images are."""
    rng = np.random.default_rng(0)
    phase = rng.random((count, 1, 1, 3)) * 6
    slope = rng.normal(size=(count, 2, 1, 1, 3)) * 0.4
    row, column = np.arange(SIDE)[:, None, None], np.arange(SIDE)[None, :, None]
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i in range(count):
        images[i] = 127 + 120 * np.sin(phase[i] + slope[i, 0] * row + slope[i, 1] * column)
    np.savez(path, images=images)
    return path


def job(images: int, batch: int = BATCH) -> Job:
    """What the runs here do."""
    return Job(
        images,
        CLUSTERS,
        batch=batch,
        crops=round(PART * images),
        features=FEATURES,
        dimensions=DIMENSIONS,
        pca_images=PCA_IMAGES,
        backbone=110_000,
    )


def train(
    run_dir: pathlib.Path, data: pathlib.Path, workers: int, batch: int, cores: int = 1
) -> dict[str, float]:
    """Seconds of each stage of a turn: the shorter of the second and the third.

    Args:
        run_dir: Of the first worker.
        data: The images.
        workers: How many.
        batch: Of all together.
        cores: Of each worker.
    """
    flags = [
        *(f"--data_dir={data}", f"--image_size={SIDE}", "--width=0.0625", "--fc_init=scaled"),
        *(f"--num_clusters={CLUSTERS}", f"--pca_dim={DIMENSIONS}", f"--pca_images={PCA_IMAGES}"),
        *(f"--batch_size={batch}", f"--reassign={PART}", "--epochs=1"),
        *("--strategy=multi_worker", "--fit=crop_large", "--keep_checkpoints=1"),
    ]
    addresses = free_addresses(workers)
    there = sorted(os.sched_getaffinity(0))
    threads = dict.fromkeys(THREADS, str(cores))
    started = []
    for rank in range(workers):
        place = {"TF_CONFIG": tf_config(addresses, rank), "CUDA_VISIBLE_DEVICES": ""}
        own = there[cores * rank : cores * (rank + 1)] if cores * workers <= len(there) else there
        pinned = ["taskset", "--cpu-list", ",".join(map(str, own))]
        started.append(
            subprocess.Popen(
                [*pinned, sys.executable, "train.py", *flags]
                + [f"--run_dir={run_dir if rank == 0 else f'{run_dir}-{rank}'}"],
                cwd=REPOSITORY,
                env=os.environ | threads | place,
                stdout=subprocess.DEVNULL,
            )
        )
    run, turns = RunDirectory(run_dir), []
    try:
        # The first turn compiles, and the others are alike.
        while len(turns) < TURNS:
            time.sleep(0.2)
            turns = run.read_metrics()
            if len(turns) < TURNS and any(one.poll() is not None for one in started):
                raise RuntimeError(f"A worker has ended. Received: {' '.join(flags)}")
    finally:
        for one in started:
            one.kill()
            one.wait()
    return {stage: min(turn["seconds"][stage] for turn in turns[1:]) for stage in STAGES}


def speed_alone(found: Found, few: dict[str, float], sizes: tuple[int, ...]) -> Speed:
    """What one worker does by itself, from two sizes and two batches."""
    small, large = (found[n, 1] for n in sizes[:2])

    def line(stage: str, counts: tuple[float, float]) -> tuple[float, float]:
        """Seconds beside what is counted, and for each of it."""
        each = (large[stage] - small[stage]) / (counts[1] - counts[0])
        return max(small[stage] - counts[0] * each, 0.0), max(each, 0.0)

    extraction, image = line("features", (sizes[0] + VIEWED, sizes[1] + VIEWED))
    pca, pca_row = line("pca", (min(sizes[0], PCA_IMAGES), min(sizes[1], PCA_IMAGES)))
    clustering, row = line("kmeans", sizes[:2])
    jobs = [job(sizes[0]), job(sizes[1]), job(sizes[1], BATCH // 4)]
    counts = [[1, one.steps, one.steps * one.batch] for one in jobs]
    seconds_of = [small["train"], large["train"], few["train"]]
    turn, step, crop = np.maximum(np.linalg.solve(counts, seconds_of), 0.0).tolist()
    return Speed(
        image=image,
        extraction=extraction,
        pca_row=pca_row,
        pca=pca,
        product=2 * CLUSTERS * DIMENSIONS * (jobs[0].iterations + 1) / max(row, 1e-12),
        clustering=clustering,
        crop=crop,
        step=step,
        turn=turn,
    )


def network_between(found: Found, speed: Speed, sizes: tuple[int, ...]) -> Network:
    """What exchanges of two workers cost, beside what each would take alone."""
    none = Network(0.0, 0.0, 0.0)
    n = sizes[1]
    apart = {stage: found[n, 2][stage] - seconds(job(n), speed, none, 2)[stage] for stage in STAGES}
    # One exchange for each iteration of k-means, one for the start, two at the end.
    latency = max(apart["kmeans"], 0.0) / (job(n).iterations + 3)
    byte = max(apart["pca"] - latency, 0.0) / (4 * PCA_IMAGES * FEATURES)
    tensor = max(apart["train"] / job(n).steps - 2 * latency, 0.0) / job(n).tensors
    return Network(latency, byte, tensor)


def predict(n: int, workers: int, speed: Speed, network: Network) -> dict[str, float]:
    """Seconds of each stage, by workers that share the cores if they are more."""
    slower = max(1.0, workers / len(os.sched_getaffinity(0)))
    own = {field.name: getattr(speed, field.name) * slower for field in dataclasses.fields(speed)}
    own["product"] = speed.product / slower
    return seconds(job(n), Speed(**own), network, workers)


if __name__ == "__main__":
    main()
