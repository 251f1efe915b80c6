"""A short version of `make faults`: several faults on one run."""

import signal

import numpy as np
import pytest

from faults import disks, kills, processes, runs, signals


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    data = runs.write_images(folder / "textures.npz")
    return runs.Undisturbed.run(data, runs.IMPROVED, folder / "run")


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_is_killed_and_stopped_ends_as_if_it_had_not_been(undisturbed, tmp_path):
    fault = runs.goes_on(
        kills.kill_while("checkpoints/.epoch-0001-step-*"),
        signals.end_in(signal.SIGTERM, "training", limit=120),
    )
    runs.strike(fault, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_a_second_process(undisturbed, tmp_path):
    runs.strike(runs.goes_on(processes.start_a_second), undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_a_full_disk(undisturbed, tmp_path):
    if not disks.may_mount(tmp_path / "try"):
        pytest.skip("mounting a small file system is not allowed here")
    runs.strike(disks.full_after_a_checkpoint, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_the_comparison_sees_a_single_bit(undisturbed):
    changed = {name: value.copy() for name, value in undisturbed.result.items()}
    weight = changed["weights.npz/conv1_1/kernel"]
    weight.flat[0] = np.nextafter(weight.flat[0], 1)
    with pytest.raises(AssertionError, match="conv1_1"):
        runs.assert_same(changed, undisturbed.result)
