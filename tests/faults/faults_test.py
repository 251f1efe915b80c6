"""A short version of `make faults`: what the other tests do not cover, once each."""

import numpy as np
import pytest

from faults import disks, kills, others, runs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.write_images(tmp_path_factory.mktemp("data") / "textures.npz")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    runs.ended(runs.start(data, run_dir), 0)
    return runs.result(run_dir)


@pytest.mark.parametrize(
    "fault", [kills.kill_in("saving"), others.start_a_second_process], ids=["saving", "second"]
)
def test_a_killed_run_goes_on(data, whole, tmp_path, rng, fault):
    fault(data, whole, tmp_path, rng)


def test_a_full_disk(data, whole, tmp_path, rng):
    if not disks.may_mount(tmp_path / "try"):
        pytest.skip("mounting a small file system is not allowed here")
    disks.fill("3m")(data, whole, tmp_path, rng)


def test_the_comparison_sees_a_single_bit(whole):
    changed = {name: value.copy() for name, value in whole.items()}
    weight = changed["weights.npz/conv1_1/kernel"]
    weight.flat[0] = np.nextafter(weight.flat[0], 1)
    with pytest.raises(AssertionError, match="conv1_1"):
        runs.assert_same(changed, whole)
