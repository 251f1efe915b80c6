"""What programs do to their own process: output, quiet libraries, memory that is kept.

TensorFlow is imported inside the functions, so that flags can be checked without loading it.
"""

import contextlib
import ctypes
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import absl.logging

from dc_keras.machine import take_gpu_memory_as_needed

# What a terminal obeys, beside what progress bars are made of: \b \t \n \r, colours, a line up.
_COMMANDS = re.compile(r"\x1b(?!\[[\d;]*m|\[A)|[\0-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")

# The standard error is the process's own: two threads must not put it back in each other's order.
_REDIRECTING = threading.RLock()


def printable(text: str) -> str:
    r"""Text to show: what would not be seen, or a terminal would obey, is escaped; lines stay.

    >>> print(printable("a\x1b[2J.png"))
    a\x1b[2J.png
    """
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class _Text(io.TextIOWrapper):
    """A stream that names of files cannot send commands through."""

    def write(self, text):
        super().write(_COMMANDS.sub(lambda found: _escaped(found[0]), text))
        return len(text)


class _Output(io.FileIO):
    """A file descriptor that what is written to goes nowhere once nobody can take it."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            # The reader has ended (`| head -1`), the terminal is gone, the disk is full.
            return memoryview(data).nbytes


def outlive_readers_of_output() -> None:
    """Lets the process go on where its standard output or error is closed, or will be.

    What would be written then goes nowhere; a run's figures are in its folder. Commands to the
    terminal, as names of files can hold, are shown and not sent. Programs call this first. Streams
    that something else has put in place of the process's own stay.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened would get the number, and what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not own:
            continue
        buffered = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
        at_once = name == "stderr" or os.isatty(descriptor)
        new = _Text(
            buffered,
            encoding=own.encoding if own else "utf-8",
            errors=own.errors if own else "backslashreplace",
            line_buffering=at_once,
            write_through=own.write_through if own else False,
        )
        if own:
            with contextlib.suppress(OSError):
                own.flush()
        setattr(sys, name, new)
        if name == "stderr":
            absl.logging.get_absl_handler().python_handler.setStream(new)


def load_libraries_quietly() -> None:
    """Loads TensorFlow and Faiss without their notes about this machine.

    TensorFlow prints half a dozen lines about instruction sets and missing GPUs before its log
    level can be set, and Faiss tells which of its builds it tries. Programs call this first, so GPU
    memory is seen to here as well. What goes wrong still comes through, as exceptions; what
    TensorFlow logs as errors beside them are such things as each line of a damaged JPEG, which the
    inspection reports in plain words.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    # absl's programs show everything that TensorFlow logs at level INFO, such as names of files.
    absl.logging.set_verbosity(absl.logging.WARNING)
    with without_native_messages():
        import tensorflow as tf

        take_gpu_memory_as_needed(tf.config)


@contextlib.contextmanager
def without_native_messages() -> Iterator[TextIO]:
    """Discards what C++ code writes to the standard error.

    Yields:
        The standard error for what is to be seen all the same.
    """
    with _REDIRECTING:
        standard_error = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        shown = _Text(
            io.BufferedWriter(_Output(standard_error, "w", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        try:
            os.dup2(nowhere, 2)
            yield shown
        finally:
            shown.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            os.close(nowhere)


# Parameters of the C library's mallopt, as its malloc.h numbers them.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Has the process keep what it frees for what it allocates next, where it computes on CPUs.

    Every training step allocates and frees the same large arrays. The C library gives large ones
    back to the system at once, which has to clear each page of them the next time. With wide
    networks that takes a fifth of the time. `return_freed_memory` gives back what is left over.

    Call it before TensorFlow's first operation: threads that start earlier have heaps of their own.
    Other C libraries than glibc are left as they are.
    """
    import tensorflow as tf

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or tf.config.list_physical_devices("GPU"):
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)


def prepare_process() -> None:
    """What programs that compute call first: loads libraries quietly and keeps freed memory."""
    load_libraries_quietly()
    keep_freed_memory()


def return_freed_memory() -> None:
    """Gives freed memory back to the system, whatever `keep_freed_memory` said.

    Cost: about 0.1 s a GB, and as much when the memory is needed again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
