"""Signals: SIGTERM and SIGINT save and end, SIGUSR1 saves and goes on.

A training step must not be cut in two, so during an epoch's steps a signal is only noted, and acted
upon when the step is done. Everything else (extraction, clustering, the last export) starts from a
checkpoint that exists and leaves nothing half-written, so there a signal ends it on the spot.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception, which libraries would catch.

    Args:
        number: The signal.

    Attributes:
        exit_code: What a shell reports of a process that this signal has ended.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interruption:
    """What signals have asked for so far.

    Attributes:
        requested: The signal that asked to end, or None.
        save_requested: Whether SIGUSR1 came; who saves resets it.
    """

    def __init__(self):
        self.requested: int | None = None
        self.save_requested = False
        self._postponed = False

    def postpone(self) -> None:
        """From here on a request to end waits for `raise_if_requested`."""
        self._postponed = True

    def raise_if_requested(self) -> None:
        """Ends the run if that was asked for.

        Raises:
            Interrupted: If it was.
        """
        if self.requested is not None:
            raise Interrupted(self.requested)

    def stop_at_once(self) -> None:
        """From here on a request to end takes effect on the spot, and one that waited now.

        Raises:
            Interrupted: If one has waited.
        """
        self._postponed = False
        self.raise_if_requested()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Receives the process's signals meanwhile. Python lets only the main thread do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {
            signal.SIGTERM: self._end,
            signal.SIGINT: self._end,
            signal.SIGUSR1: self._save,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame) -> None:
        if self.requested is not None:
            os._exit(128 + number)  # Twice is an order.
        self.requested = number
        if not self._postponed:
            raise Interrupted(number)

    def _save(self, number: int, frame) -> None:
        self.save_requested = True
