"""What a run goes on from comes to workers that do not see its folder."""

import pytest

from dc_keras.clustering.spread import ALONE
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.workers import run_files
from dc_keras.workers.run_files import bring_run
from thread_workers import together


@pytest.fixture
def run(tmp_path):
    """Not a run, but files of its names."""
    run = RunDirectory(tmp_path / "run")
    for name in ("epoch-0001", "epoch-0002"):
        (run.checkpoints / name).mkdir(parents=True)
        (run.checkpoints / name / "weights.npz").write_bytes(bytes(range(256)) * 5 + b"odd")
        (run.checkpoints / name / "empty.npz").write_bytes(b"")
    for path in (run.flags, run.manifest, run.manifest.with_suffix(".json"), run.metrics):
        path.write_text(f"of {path.name}\n")
    (run.path / "log.txt").write_text("stays")
    return run


@pytest.mark.parametrize("at_a_time", [7, 1 << 26])
def test_settings_images_figures_and_one_checkpoint(run, tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr(run_files, "_AT_A_TIME", at_a_time)

    def bring(worker):
        own = run if worker.rank == 0 else RunDirectory(tmp_path / f"other-{worker.rank}")
        newest = run.checkpoints / "epoch-0002" if worker.rank == 0 else None
        return own, bring_run(own, newest, worker)

    (_, kept), *others = together(3, bring)
    assert kept == run.checkpoints / "epoch-0002"
    for other, brought in others:
        assert brought == other.checkpoints / "epoch-0002"
        found = {str(path.relative_to(other.path)) for path in other.path.rglob("*.*")}
        assert found == {
            *("flags.cfg", "manifest.csv", "manifest.json", "metrics.jsonl"),
            *("checkpoints/epoch-0002/weights.npz", "checkpoints/epoch-0002/empty.npz"),
        }
        for name in found:
            assert (other.path / name).read_bytes() == (run.path / name).read_bytes()


def test_a_new_run_brings_nothing(tmp_path):
    def bring(worker):
        return bring_run(RunDirectory(tmp_path / f"run-{worker.rank}"), None, worker)

    assert together(2, bring) == [None, None]
    assert list(tmp_path.rglob("*")) == []


def test_alone_nothing_travels(run):
    assert bring_run(run, run.checkpoints / "epoch-0001", ALONE) == run.checkpoints / "epoch-0001"
