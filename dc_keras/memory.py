"""How much memory the process may still take: what is free, and what limits leave.

A control group (of a container, a batch system) ends processes that take more than it allows, while
the system still tells of free memory; under a limit of the process (`ulimit -v`, `ulimit -d`)
allocations fail, which much native code does not survive.
"""

import os
import pathlib
import re
import resource
from collections.abc import Iterator
from typing import NamedTuple


class FreeMemory(NamedTuple):
    """Memory that can be had, and what it is that there is no more.

    Attributes:
        bytes: How much.
        told: In words: "free on this machine", "left by the control group".
    """

    bytes: int
    told: str


def free_memory(root: str | os.PathLike = "/") -> FreeMemory:
    """The least of what the system has, the control groups leave and the limits of the process do.

    Args:
        root: Where /proc and /sys are.

    >>> free_memory().bytes > 0
    True
    """
    root = pathlib.Path(root)
    found = [_of_machine(root), *_of_control_groups(root)]
    limits = [free_address_space(), _of_limit(resource.RLIMIT_DATA, "VmData", "d")]
    least = min([*found, *filter(None, limits)])
    return least._replace(bytes=max(0, least.bytes))


def free_address_space() -> FreeMemory | None:
    """What the process may still map, files included; None where that has no limit."""
    return _of_limit(resource.RLIMIT_AS, "VmSize", "v")


def _of_machine(root: pathlib.Path) -> FreeMemory:
    try:
        free = _fields(root / "proc/meminfo")["MemAvailable"]
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return FreeMemory(free, "free on this machine")


def _of_control_groups(root: pathlib.Path) -> Iterator[FreeMemory]:
    """What each control group that the process is in leaves, the groups around them included."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            # Version 2, alone or (unified) beside version 1.
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                for folder in _upwards(root / mount, group):
                    for limit in ("memory.max", "memory.high"):
                        yield from _of_group(folder, limit, "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/memory", group):
                yield from _of_group(
                    folder,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                )


def _upwards(mount: pathlib.Path, group: str) -> Iterator[pathlib.Path]:
    """The folder of a control group and those around it.

    In a container the file system may begin at its own group, whose path is that of the outside.
    """
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:count])


def _of_group(
    folder: pathlib.Path, limit: str, usage: str, reclaimable: str
) -> Iterator[FreeMemory]:
    try:
        text = (folder / limit).read_text().strip()
        if text == "max":
            return
        free = int(text) - int((folder / usage).read_text())
    except (OSError, ValueError):
        return
    try:
        # Pages of files that were read count as used until the system needs their room.
        free += _fields(folder / "memory.stat")[reclaimable]
    except (OSError, KeyError, ValueError):
        pass
    yield FreeMemory(free, "left by the control group")


def _of_limit(limit: int, field: str, letter: str) -> FreeMemory | None:
    """What a limit of the process leaves; None where there is none."""
    most, _ = resource.getrlimit(limit)
    if most == resource.RLIM_INFINITY:
        return None
    try:
        used = _fields(pathlib.Path("/proc/self/status"))[field]
    except (OSError, KeyError, ValueError):
        used = 0
    return FreeMemory(max(0, most - used), f"left by ulimit -{letter}")


def _fields(path: pathlib.Path) -> dict[str, int]:
    """Numbers by name from lines such as "MemFree: 17 kB" and "anon 17408", in bytes."""
    fields = {}
    for line in path.read_text().splitlines():
        if found := re.match(r"(\w+):?\s+(\d+)( kB)?$", line):
            fields[found[1]] = int(found[2]) * (1024 if found[3] else 1)
    return fields
