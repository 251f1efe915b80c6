"""Checkpoints that were damaged while nobody looked."""

import shutil
import signal

import numpy as np

from dc_keras.runs.run_directory import RunDirectory
from faults.kills import evaluation, export, finished_run
from faults.runs import Case, Undisturbed, once

FILES = (
    "weights.npz",
    "optimizers.npz",
    "means.npz",
    "clusters.npz",
    "whitening.npz",
    "state.json",
    "SHA256SUMS",
)
KINDS = ("cut off", "a bit", "missing")


@once
def _stopped_run(undisturbed: Undisturbed):
    """The folder of a run that was ended in its second epoch, with three checkpoints."""
    case = Case(undisturbed, undisturbed.run_dir.parent / "stopped", 0, np.random.default_rng(1))
    with case.start() as process:
        process.wait_for(case.checkpoints, "epoch-0002-step-000010")
        process.send_signal(signal.SIGTERM)
        process.ended(143)
    assert len(RunDirectory(case.run_dir).newest_checkpoints()) == 3
    return case.run_dir


def _checkpoints(case: Case) -> list:
    """The checkpoints of a copy of that run, newest first."""
    shutil.copytree(_stopped_run(case.undisturbed), case.run_dir)
    return RunDirectory(case.run_dir).newest_checkpoints()


def _damage(path, kind, rng) -> None:
    if kind == "missing":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if kind == "cut off":
        del data[int(rng.integers(len(data) // 2)) :]
    else:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def damage_newest(case: Case) -> None:
    """Damage to one file after the other of the newest checkpoint: it is told and passed over."""
    newest, *_ = _checkpoints(case)
    _damage(newest / FILES[case.turn % len(FILES)], KINDS[case.turn % len(KINDS)], case.rng)
    printed = case.assert_goes_on()
    assert f"{newest.name} is damaged" in printed, printed


def damage_all_but_the_oldest(case: Case) -> None:
    """Damage to a random file of each newer checkpoint."""
    *newer, oldest = _checkpoints(case)
    for path in newer:
        _damage(path / case.rng.choice(FILES), case.rng.choice(KINDS), case.rng)
    printed = case.assert_goes_on()
    assert all(f"{path.name} is damaged" in printed for path in newer)
    assert f"from {oldest}" in printed


def damage_all(case: Case) -> None:
    """Damage to a random file of every checkpoint: a plain error, and nothing is thrown away."""
    checkpoints = _checkpoints(case)
    for path in checkpoints:
        _damage(path / case.rng.choice(FILES), KINDS[case.turn % len(KINDS)], case.rng)
    before = sorted(case.run_dir.rglob("*"))
    with case.start() as process:
        printed = process.ended(2)
    assert "No checkpoint of the run can be read. Received: 3 damaged" in printed, printed
    assert sorted(case.run_dir.rglob("*")) == before


def lose_all(case: Case) -> None:
    """No checkpoint is there any more: the run begins anew."""
    _checkpoints(case)
    shutil.rmtree(case.checkpoints)
    assert "Going on" not in case.assert_goes_on()


def damage_for_the_others(case: Case) -> None:
    """Evaluation and export take the checkpoint before; where all are damaged, they say so."""
    finished_run(case)
    checkpoints = RunDirectory(case.run_dir).newest_checkpoints()
    assert len(checkpoints) == 3
    _damage(checkpoints[0] / "weights.npz", KINDS[case.turn % len(KINDS)], case.rng)
    for program in (evaluation(case.run_dir), export(case.run_dir, case.folder / "out")):
        with program:
            assert f"{checkpoints[0].name} is damaged" in program.ended(0)
    for path in checkpoints[1:]:
        _damage(path / "weights.npz", KINDS[case.turn % len(KINDS)], case.rng)
    for program in (evaluation(case.run_dir), export(case.run_dir, case.folder / "out")):
        with program:
            printed = program.ended(2)
            assert "No checkpoint of the run can be read. Received: 3 damaged" in printed, printed
    assert not (case.folder / "out" / "2").exists()
