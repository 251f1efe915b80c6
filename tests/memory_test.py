"""Memory that can be had: the least of what system, control groups and limits leave."""

import resource
import subprocess
import sys

import pytest

from dc_keras.memory import free_memory
from repository import REPOSITORY

GB = 10**9


@pytest.fixture
def tree(tmp_path):
    """A function that writes files of /proc and /sys, and gives what is free by them."""

    def free(**files):
        files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8000000 kB\n", **files}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return free_memory(tmp_path)

    return free


def test_without_limits_it_is_what_the_system_has(tree):
    assert tree() == (8_192_000_000, "free on this machine")


GROUP = "sys/fs/cgroup/"
NEW = {"proc/self/cgroup": "0::/a/b\n"}
OLD = {"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n"}
NO_LIMIT = "9223372036854771712\n"


def new(folder, limit, used, name="memory.max"):
    return {f"{GROUP}{folder}{name}": limit, f"{GROUP}{folder}memory.current": used}


def old(folder, limit, used):
    folder = f"{GROUP}memory/{folder}memory."
    return {f"{folder}limit_in_bytes": limit, f"{folder}usage_in_bytes": used}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        (NEW | new("a/b/", "3000000000\n", "1000000000\n"), 2 * GB),
        (NEW | new("a/b/", "max\n", "1\n") | new("a/", "5000000000\n", "1000000000\n"), 4 * GB),
        (NEW | new("", "3000000000\n", "2000000000\n"), 1 * GB),
        (NEW | new("a/b/", "3000000000\n", "1000000000\n", "memory.high"), 2 * GB),
        (NEW | new("a/b/", "3000000000\n", "3000000001\n"), 0),
        (OLD | old("a/b/", "3000000000\n", "1000000000\n"), 2 * GB),
        (OLD | old("a/b/", NO_LIMIT, "1\n") | old("a/", "3000000000\n", "0\n"), 3 * GB),
        (OLD | old("", "3000000000\n", "2500000000\n"), GB // 2),
    ],
    ids=["2", "2, around", "2, container", "2, high", "2, full", "1", "1, around", "1, container"],
)
def test_it_is_what_the_control_group_leaves(tree, files, free):
    assert tree(**files) == (free, "left by the control group")


@pytest.mark.parametrize(
    "files",
    [
        NEW,
        NEW | new("a/b/", "max\n", "1000000000\n"),
        NEW | new("a/b/", "no number\n", "1000000000\n"),
        OLD | old("a/b/", NO_LIMIT, "1000000000\n"),
        OLD | old("c/", "3000000000\n", "1000000000\n"),
    ],
)
def test_a_control_group_without_a_limit_leaves_all(tree, files):
    assert tree(**files).told == "free on this machine"


def test_pages_of_files_that_were_read_can_be_had(tree):
    group = new("a/b/", "3000000000\n", "2900000000\n")
    stat = {f"{GROUP}a/b/memory.stat": "anon 17\ninactive_file 2000000000\nactive_file 5\n"}
    assert tree(**NEW | group | stat).bytes == 21 * GB // 10
    group = old("a/b/", "3000000000\n", "2900000000\n")
    stat = {f"{GROUP}memory/a/b/memory.stat": "inactive_file 7\ntotal_inactive_file 2000000000\n"}
    assert tree(**OLD | group | stat).bytes == 21 * GB // 10


def test_without_files_of_the_system_half_of_its_memory_is_taken_for_free(tmp_path):
    memory = free_memory(tmp_path)
    assert memory.told == "free on this machine" and 2**27 < memory.bytes < 2**50


def test_it_is_that_of_this_machine():
    assert 2**27 < free_memory().bytes < 2**50


@pytest.mark.parametrize("letter", ["v", "d"])
def test_limits_of_the_process(letter):
    """A limit of 4 GB, of which a process that holds 1 GB has less than 3 left."""
    limit = {"v": resource.RLIMIT_AS, "d": resource.RLIMIT_DATA}[letter]
    code = (
        "import mmap\nfrom dc_keras.memory import free_memory\n"
        "held = mmap.mmap(-1, 10**9, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "print(*free_memory(), sep=';')\n"
    )
    told = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        text=True,
        preexec_fn=lambda: resource.setrlimit(limit, (4 * GB, 4 * GB)),
    )
    free, reason = told.strip().split(";")
    assert 2.5 * GB < int(free) < 3 * GB and reason == f"left by ulimit -{letter}"
