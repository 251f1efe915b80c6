"""The constants of benchmarks.scale, found again in seconds that were made from them."""

import pytest

from benchmarks.scale import (
    BATCH,
    Case,
    job,
    median_of,
    network_between,
    small_batches,
    speed_alone,
)
from benchmarks.simulate_scale import Network, Speed, seconds

SIZES = (1000, 10_000, 100_000)
SPEED = Speed(
    image=1e-3,
    extraction=0.2,
    pca_row=1e-5,
    pca=0.01,
    product=2e10,
    clustering=0.02,
    crop=2e-3,
    step=0.01,
    turn=0.1,
)
NETWORK = Network(latency=5e-3, byte=2e-8, tensor=1e-4)


def test_the_constants_that_made_the_seconds_are_found():
    cases = [Case(n, workers) for n in SIZES for workers in (1, 2)] + [small_batches(SIZES)]
    found = {
        case: seconds(job(case.images, case.batch), SPEED, NETWORK, case.workers) for case in cases
    }
    assert small_batches(SIZES).batch < BATCH
    speed = speed_alone(found, SIZES)
    assert vars(speed) == pytest.approx(vars(SPEED))
    assert vars(network_between(found, speed, SIZES)) == pytest.approx(vars(NETWORK))


def test_a_stage_takes_the_median_of_its_turns():
    turns = [
        {"features": 1.0, "pca": 9.0, "kmeans": 2.0, "train": 3.0},
        {"features": 5.0, "pca": 1.0, "kmeans": 2.0, "train": 3.0},
        {"features": 2.0, "pca": 2.0, "kmeans": 4.0, "train": 30.0},
    ]
    assert median_of(turns) == {"features": 2.0, "pca": 2.0, "kmeans": 2.0, "train": 3.0}
