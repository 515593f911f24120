"""The memory that this machine can still give, and which of several processes this one is."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory() -> int | None:
    """Return the bytes that this process can still take without swapping, or None if unknown.

    The smaller of what the machine has and what its control groups (containers, batch systems)
    allow. Where only the whole memory of the machine is known, that is returned.
    """
    bounds = [*_machine_bound(), *_group_bounds(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
    return max(0, min(bounds)) if bounds else None


def worker_rank(*, local: bool = False) -> int | None:
    """Return the number of this process among those that torchrun started, or None without it.

    `local`: among those on this machine.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return int(os.environ["LOCAL_RANK" if local else "RANK"])


def _machine_bound() -> list[int]:
    kilobytes = _numbers(Path("/proc/meminfo")).get("MemAvailable:")
    if kilobytes is not None:
        return [1024 * kilobytes]
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows, or a system without these names
        return []


def _group_bounds(membership: Path, root: Path) -> list[int]:
    """Return what every control group above this process has left, of version 2 or 1."""
    bounds = []
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "memory"
        else:
            continue
        folder = top / path.strip("/")
        # Inside a container the path may be that of the host: then only the top is there.
        for group in (folder, *folder.parents):
            limit, usage = (_text(group / name).strip() for name in names[:2])
            if limit.isdigit() and usage.isdigit():  # otherwise "max", or no such file
                cached = _numbers(group / "memory.stat").get(names[2], 0)
                bounds.append(int(limit) - int(usage) + cached)
            if group == top:
                break
    return bounds


def _numbers(path: Path) -> dict[str, int]:
    """Return the first number of every line `name number ...`."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
