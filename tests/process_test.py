"""What programs do to their own process: quiet libraries, and memory that is kept."""

import logging
import os
import platform
import subprocess
import sys

import absl.logging
import pytest
import tensorflow as tf

from dc_keras.process import load_libraries_quietly, without_native_messages
from repository import REPOSITORY


@pytest.fixture
def levels_of_logs():
    """Puts back what `load_libraries_quietly` sets."""
    faiss = logging.getLogger("faiss.loader")
    before = absl.logging.get_verbosity(), faiss.level
    yield
    absl.logging.set_verbosity(before[0])
    faiss.setLevel(before[1])


def test_gpu_memory_is_taken_as_needed(monkeypatch, levels_of_logs):
    growing = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    load_libraries_quietly()
    assert growing == [("GPU:0", True), ("GPU:1", True)]


def test_native_messages_are_discarded_within_the_context_alone(capfd):
    os.write(2, b"before\n")
    with without_native_messages():
        os.write(2, b"within\n")
    os.write(2, b"behind\n")
    assert capfd.readouterr().err == "before\nbehind\n"


def test_native_messages_come_again_behind_an_error(capfd):
    with pytest.raises(ValueError, match="what ends it"), without_native_messages():
        raise ValueError("what ends it")
    os.write(2, b"behind\n")
    assert capfd.readouterr().err == "behind\n"


# Uses and frees 400 MB twice, and prints the pages that the second time had to be given, and the
# memory that the process holds at the end, in MB.
_ALLOCATES = """
import pathlib, resource, sys
import numpy as np
from dc_keras.process import keep_freed_memory, return_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(50_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
if sys.argv[2] == "return":
    return_freed_memory()
print(int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone keeps memory")
def test_memory_is_kept_and_returned():
    def run(*what):
        program = [sys.executable, "-c", _ALLOCATES, *what]
        told = subprocess.check_output(program, text=True, cwd=REPOSITORY)
        return [float(line) for line in told.split()]

    given, held = run("default", "no")
    kept_given, kept_held = run("keep", "no")
    returned_given, returned_held = run("keep", "return")
    # Pages are 4 kB, or 2 MB where the system gives such to whoever asks for much.
    assert given >= 190 > 20 > kept_given and returned_given < 20
    # In between lie the 400 MB.
    assert kept_held - held > 350 and kept_held - returned_held > 350
