"""Checkpoints that were damaged while nobody looked."""

import signal

from dc_keras.training.run_state import RunDirectory
from faults.runs import assert_goes_on, ended, start, wait_for

FILES = (
    "weights.npz",
    "optimizers.npz",
    "means.npz",
    "clusters.npz",
    "whitening.npz",
    "state.json",
    "SHA256SUMS",
)


def _stopped_run(data, folder) -> RunDirectory:
    """A run that was ended in its second epoch, with three checkpoints."""
    process = start(data, folder / "run")
    wait_for(process, folder / "run" / "checkpoints", "epoch-0002-step-000021")
    process.send_signal(signal.SIGTERM)
    ended(process, 143)
    return RunDirectory(folder / "run")


def _damage(path, kind, rng) -> None:
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data)))
    if kind == "missing":
        path.unlink()
        return
    if kind == "cut off":
        del data[at:]
    else:
        data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def damage_newest(data, whole, folder, rng) -> None:
    """A random kind of damage to a random file of the newest checkpoint."""
    newest = _stopped_run(data, folder).newest_checkpoints()[0]
    name, kind = rng.choice(FILES), rng.choice(["cut off", "a bit", "missing"])
    _damage(newest / name, kind, rng)
    printed = assert_goes_on(data, folder / "run", whole)
    # A checkpoint without its last two files was never finished, and is passed over in silence.
    assert f"{newest.name} is damaged" in printed, (name, kind, printed)


def damage_all(data, whole, folder, rng) -> None:
    """Damage to every checkpoint: a plain error, and nothing is thrown away."""
    checkpoints = _stopped_run(data, folder).newest_checkpoints()
    for path in checkpoints:
        _damage(path / "weights.npz", "a bit", rng)
    printed = ended(start(data, folder / "run"), 2)
    assert "No checkpoint of the run can be read" in printed
    assert all((path / "weights.npz").exists() for path in checkpoints)
