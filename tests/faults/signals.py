"""SIGTERM, SIGINT and SIGUSR1 in each stage."""

import pathlib
import signal
import time

from faults.runs import Case

# On a machine that does nothing else.
LIMIT_SECONDS = 10


def end_in(number, stage, limit=LIMIT_SECONDS):
    """A signal in "extraction", "k-means" or "training": saved and ended within so many seconds."""

    def disturb(case: Case) -> None:
        with case.start(terminal=True) as process:
            case.reach_stage(process, stage, clusterings=2 if stage == "training" else 3)
            _end(process, number, limit)

    return disturb


def end_at_the_start(number):
    """A signal while TensorFlow is loaded."""

    def disturb(case: Case) -> None:
        with case.start() as process:
            maps = pathlib.Path(f"/proc/{process.pid}/maps")
            process.wait_until(lambda: "libtensorflow" in maps.read_text())
            process.send_signal(number)
            assert f"Stopped by {number.name}" in process.ended(128 + number)
        assert not case.run_dir.exists()

    return disturb


def end_while_saving(number):
    """A signal while a checkpoint is written."""

    def disturb(case: Case) -> None:
        with case.start() as process:
            case.reach_file(process, "checkpoints/.epoch-*")
            _end(process, number, LIMIT_SECONDS)

    return disturb


def _end(process, number, limit) -> None:
    """Sends a signal to a frozen process, which must end in time and in order."""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    sent = time.monotonic()
    process.wait()
    seconds = time.monotonic() - sent
    printed = process.ended(128 + number)
    assert f"Stopped by {number.name}" in printed, printed
    assert seconds < limit, f"it took {seconds:.1f} s"


def end_at_the_second(case: Case) -> None:
    """The second signal ends the process at once, without a word and without saving."""
    with case.start(terminal=True) as process:
        case.reach_stage(process, "training", clusterings=2)
        before = sorted(case.checkpoints.rglob("*"))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        # Both wait to be handled, and Python takes them in the order of their numbers.
        assert "Stopped by" not in process.ended(128 + signal.SIGTERM)
    assert sorted(case.checkpoints.rglob("*")) == before


def save_on_request(stage):
    """SIGUSR1 saves, in a stage of clustering after the next step, and the run goes on."""

    def fault(case: Case) -> None:
        # No other checkpoints within epochs.
        with case.start("--checkpoint_every_steps=0", terminal=True) as process:
            case.reach_stage(process, stage, clusterings=2)
            process.send_signal(signal.SIGUSR1)
            process.send_signal(signal.SIGCONT)
            process.wait_for(case.checkpoints, "epoch-*-step-*")
            process.ended(0)
        case.assert_goes_on()

    return fault
