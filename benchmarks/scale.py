"""Several workers on the cores of this machine, beside one, and beside what simulate_scale says.

    python -m benchmarks.scale --write

Each worker has a core of its own; of three workers on two cores each is taken to have two thirds of
one. Beside them stands one worker that has all cores. The constants of a worker come from runs of
one, those of exchanges from 1,000 and 10,000 images on two; the other rows are predicted. Small
networks on loopback say what exchanges cost, and nothing about GPUs.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.optimize

from benchmarks.interleaved import arguments
from benchmarks.rows import Subject, report_scale
from benchmarks.simulate_scale import VIEWED, Job, Network, Speed, seconds
from benchmarks.workers import free_addresses, tf_config
from dc_keras.runs.run_directory import RunDirectory
from tools.write_tables import REPOSITORY

SIDE, CLUSTERS, BATCH, DIMENSIONS, FEATURES, PCA_IMAGES = 32, 100, 96, 64, 256, 2000
# Of the images, in a turn: training is not what grows here.
PART = 0.1
# Images up to which a turn is short: more of them are timed, since others use the machine.
FEW_IMAGES, TURNS_OF_FEW, TURNS_OF_MANY = 10_000, 6, 2
PACKAGES = ("tensorflow", "keras", "faiss-cpu", "numpy")
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STAGES = ("features", "pca", "kmeans", "train")


@dataclasses.dataclass(frozen=True)
class Case:
    """One group of workers.

    Attributes:
        images: Their number.
        workers: How many.
        batch: Of all together.
        cores: Of each worker.
    """

    images: int
    workers: int
    batch: int = BATCH
    cores: int = 1


# The seconds of each stage.
Found = dict[Case, dict[str, float]]


def main() -> None:
    """Measures, fits, predicts and compares."""
    options = arguments(__doc__, turns=2)
    sizes = (200, 600) if options.quick else (1000, 10_000, 100_000)
    most = 2 if options.quick else 3
    all_cores = Case(sizes[1], 1, cores=len(os.sched_getaffinity(0)))
    compared = [Case(n, workers) for n in sizes for workers in range(1, most + 1)]
    timed: dict[Case, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        there = pathlib.Path(folder)
        data = {n: write_images(there / f"{n}.npz", n) for n in sizes}
        # In rounds, since others use the machine now and then.
        for turn in range(options.turns):
            for place, case in enumerate([*compared, small_batches(sizes), all_cores]):
                took = train(there / f"run-{turn}-{place}", data[case.images], case)
                timed.setdefault(case, []).extend(took)
                print(turn, case, median_of(took), flush=True)
    found = {case: median_of(took) for case, took in timed.items()}
    compare(options, found, sizes, compared)
    subject = Subject(
        "turn", f"{sizes[1]:,} images, 1 workers of {all_cores.cores} cores", PACKAGES
    )
    for stage, measured in with_whole(found[all_cores]).items():
        report_scale(options, subject, stage, measured)


def small_batches(sizes: tuple[int, ...]) -> Case:
    """By which a step's seconds are told from those of its crops."""
    return Case(sizes[1], 1, batch=BATCH // 4)


def median_of(turns: list[dict[str, float]]) -> dict[str, float]:
    """Seconds of each stage: the median of the turns'."""
    return {stage: statistics.median(turn[stage] for turn in turns) for stage in STAGES}


def compare(
    options: argparse.Namespace, found: Found, sizes: tuple[int, ...], compared: list[Case]
) -> None:
    """Finds the constants, and reports each case beside what they say."""
    speed = speed_alone(found, sizes)
    network = network_between(found, speed, sizes)
    print(speed, network, sep="\n", flush=True)
    for case in compared:
        n, workers = case.images, case.workers
        simulated = with_whole(predict(n, workers, speed, network))
        fitted = workers == 1 or (workers == 2 and n in sizes[:2])
        subject = Subject("turn", f"{n:,} images, {workers} workers", PACKAGES)
        for stage, ours in with_whole(found[case]).items():
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


def train(run_dir: pathlib.Path, data: pathlib.Path, case: Case) -> list[dict[str, float]]:
    """Seconds of each stage, turn by turn, without the first, which compiles.

    Args:
        run_dir: Of the first worker.
        data: The images.
        case: What to run.
    """
    workers, cores = case.workers, case.cores
    wanted = 1 + (TURNS_OF_FEW if case.images <= FEW_IMAGES else TURNS_OF_MANY)
    flags = [
        *(f"--data_dir={data}", f"--image_size={SIDE}", "--width=0.0625", "--fc_init=scaled"),
        *(f"--num_clusters={CLUSTERS}", f"--pca_dim={DIMENSIONS}", f"--pca_images={PCA_IMAGES}"),
        *(f"--batch_size={case.batch}", f"--reassign={PART}", "--epochs=1"),
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
        while len(turns) < wanted:
            time.sleep(0.2)
            turns = run.read_metrics()
            if len(turns) < wanted and any(one.poll() is not None for one in started):
                raise RuntimeError(f"A worker has ended. Received: {' '.join(flags)}")
    finally:
        for one in started:
            one.kill()
            one.wait()
    return [turn["seconds"] for turn in turns[1:wanted]]


def speed_alone(found: Found, sizes: tuple[int, ...]) -> Speed:
    """What one worker does by itself, from all sizes and two batches."""
    alone = [Case(n, 1) for n in sizes]
    both = [*alone, small_batches(sizes)]

    def line(stage: str, counts: list[int]) -> list[float]:
        """What the stage takes at once, and for each of what it goes through."""
        return explained([[1, count] for count in counts], [found[case][stage] for case in alone])

    extraction, image = line("features", [n + VIEWED for n in sizes])
    pca, pca_row = line("pca", [min(n, PCA_IMAGES) for n in sizes])
    clustering, row = line("kmeans", list(sizes))
    jobs = [job(case.images, case.batch) for case in both]
    turn, step, crop = explained(
        [[1, one.steps, one.steps * one.batch] for one in jobs],
        [found[case]["train"] for case in both],
    )
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
    units = Network(1.0, 0.0, 0.0), Network(0.0, 1.0, 0.0), Network(0.0, 0.0, 1.0)
    times, apart, whole = [], [], []
    for n in sizes[:2]:
        two, alone = found[Case(n, 2)], seconds(job(n), speed, none, 2)
        of_units = [seconds(job(n), speed, unit, 2) for unit in units]
        for stage in STAGES:
            times.append([one[stage] - alone[stage] for one in of_units])
            apart.append(two[stage] - alone[stage])
            whole.append(two[stage])
    return Network(*explained(times, apart, whole))


def explained(
    times: list[list[float]], took: list[float], whole: list[float] | None = None
) -> list[float]:
    """Costs, none below zero, that explain seconds best by their relative errors.

    Args:
        times: How often each cost comes in, of each measurement.
        took: The seconds of each.
        whole: Of what the errors are parts; None for `took`.
    """
    parts = np.asarray(whole or took)
    return scipy.optimize.nnls(np.asarray(times) / parts[:, None], took / parts)[0].tolist()


def predict(n: int, workers: int, speed: Speed, network: Network) -> dict[str, float]:
    """Seconds of each stage, by workers that share the cores if they are more."""
    slower = max(1.0, workers / len(os.sched_getaffinity(0)))
    own = {field.name: getattr(speed, field.name) * slower for field in dataclasses.fields(speed)}
    own["product"] = speed.product / slower
    return seconds(job(n), Speed(**own), network, workers)


if __name__ == "__main__":
    main()
