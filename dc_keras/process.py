"""The process: which messages its libraries print, and what becomes of memory that it frees."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator

import absl.logging

from dc_keras.machine import take_gpu_memory_as_needed


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
def without_native_messages() -> Iterator[None]:
    """Discards what C++ code writes to the standard error."""
    standard_error = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
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
