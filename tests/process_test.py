"""What programs do to their own process: quiet libraries, and memory that is kept."""

import logging
import os
import platform
import subprocess
import sys

import absl.logging
import pytest
import tensorflow as tf

from dc_keras.process import (
    load_libraries_quietly,
    outlive_readers_of_output,
    printable,
    without_native_messages,
)
from repository import REPOSITORY

# Prints a line too many for any pipe's buffer, and tells how it ends.
_PRINTS = """
import os, sys
from dc_keras.process import outlive_readers_of_output
outlive_readers_of_output()
for i in range(20_000):
    print(i, "a line of some length", flush=i % 100 == 0)
    print(i, file=sys.stderr)
sys.stdout.isatty()
with open(sys.argv[1], "w") as file:
    print("done", file.fileno() > 2, file=file)
"""


@pytest.mark.parametrize(
    "redirection",
    ["| head -1", "2>&1 | head -1", ">&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"],
)
def test_a_process_outlives_who_reads_its_output(tmp_path, redirection):
    code, done = tmp_path / "code.py", tmp_path / "done"
    code.write_text(_PRINTS)
    command = f"set -o pipefail; {sys.executable} {code} {done} {redirection}"
    told = subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0 and "Traceback" not in told.stderr
    assert done.read_text() == "done True\n"


def test_all_that_is_printed_arrives(tmp_path):
    code = tmp_path / "code.py"
    code.write_text(_PRINTS)
    told = subprocess.run(
        [sys.executable, str(code), str(tmp_path / "done")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout == "".join(f"{i} a line of some length\n" for i in range(20_000))
    assert told.stderr == "".join(f"{i}\n" for i in range(20_000))


# Erases the screen, sets a window's title, rings; what progress bars do; colours; UTF-8.
_SENT = "a\\x1b[2Jb\\x1b]0;title\\x07c\\x9b2Jd\\x1b[1m\\x1b[32m━\\x1b[0m\\b\\r\\x1b[A\\tä\\x1b"
_SHOWN = "a\\x1b[2Jb\\x1b]0;title\\x07c\\x9b2Jd\x1b[1m\x1b[32m━\x1b[0m\b\r\x1b[A\tä\\x1b\n"


def test_names_send_no_commands_to_the_terminal(tmp_path):
    code = tmp_path / "code.py"
    code.write_text(
        "import sys\nfrom absl import logging\n"
        "from dc_keras.process import outlive_readers_of_output\n"
        f"outlive_readers_of_output()\nprint('{_SENT}')\nprint('{_SENT}', file=sys.stderr)\n"
        f"logging.warning('{_SENT}')\n",
        encoding="utf-8",
    )
    told = subprocess.run(
        [sys.executable, "-X", "utf8", str(code)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        timeout=60,
    )
    assert told.stdout.decode() == _SHOWN
    first, logged = told.stderr.decode().split("\n", 1)
    assert first + "\n" == _SHOWN and logged.endswith(_SHOWN)


def test_what_is_not_seen_is_shown_escaped():
    name = "ä\x1b[2J\u202e\udcff\t.png\nnext"
    assert printable(name) == "ä\\x1b[2J\\u202e\\udcff\\t.png\nnext"


def test_streams_of_others_stay(capsys):
    before = sys.stdout, sys.stderr
    outlive_readers_of_output()
    assert (sys.stdout, sys.stderr) == before


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
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda gpu: None)
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    load_libraries_quietly()
    assert growing == [("GPU:0", True), ("GPU:1", True)]


def test_native_messages_are_discarded_within_the_context_alone(capfd):
    os.write(2, b"before\n")
    with without_native_messages() as shown:
        os.write(2, b"within\n")
        shown.write("shown\n")
    os.write(2, b"behind\n")
    assert capfd.readouterr().err == "before\nshown\nbehind\n"


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
