"""What a process does about signals; tests/faults stops whole runs."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dc_keras.training.interruption import Interrupted, Interruption
from repository import REPOSITORY


def test_sigusr1_asks_to_save_and_not_to_end():
    interruption = Interruption()
    with interruption.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interruption.save_requested and interruption.requested is None
        interruption.raise_if_requested()


def test_during_steps_a_signal_waits_until_one_may_stop():
    interruption = Interruption()
    with interruption.listening():
        interruption.postpone()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested == signal.SIGTERM
        with pytest.raises(Interrupted) as error:
            interruption.stop_at_once()
        assert error.value.exit_code == 143


def test_during_steps_a_signal_takes_effect_behind_the_next_one():
    interruption = Interruption()
    with interruption.listening():
        interruption.postpone()
        interruption.raise_if_requested()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT"):
            interruption.raise_if_requested()


def test_outside_of_training_steps_a_signal_stops_at_once():
    interruption = Interruption()
    with interruption.listening(), pytest.raises(Interrupted, match="SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)


def test_signals_do_what_they_did_before_when_it_no_longer_listens():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with Interruption().listening():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_other_threads_than_the_main_one_do_not_listen():
    before, during = signal.getsignal(signal.SIGTERM), []

    def listen():
        with Interruption().listening():
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert during == [before]


def test_a_second_signal_ends_at_once():
    """In a child, because it is os._exit that ends it."""
    code = (
        "import os, signal\n"
        "from dc_keras.training.interruption import Interruption\n"
        "interruption = Interruption()\n"
        "with interruption.listening():\n"
        "    interruption.postpone()\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 130
