"""How many cores this process may use: the scheduler's mask, and the quota of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Cores this process may use, at least one.

    A container or a service may be held to a share of the machine: "150 %" counts as one core,
    because a thread too many only makes all of them wait.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


@cache
def cpu_quota(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> float | None:
    """Cores that the control groups of this process grant, the least of them; None if unlimited.

    Args:
        membership: file that names them.
        cgroups: where their own files are.
    """
    try:
        lines = membership.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers:
            quotas += [_unified(folder) for folder in _folders(cgroups, name)]
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
                quotas += [_legacy(folder) for folder in _folders(cgroups / mount, name)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(root: Path, name: str) -> Iterator[Path]:
    """The group's folder and those above it. Inside a container only the topmost may be there."""
    relative = PurePosixPath(name.lstrip("/"))
    for part in (relative, *relative.parents):
        if ".." not in part.parts:
            yield root / part


def _unified(folder: Path) -> float | None:
    """Of version 2: "MAX PERIOD", in microseconds, MAX being a number or "max"."""
    try:
        most, period = (folder / "cpu.max").read_text().split()[:2]
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _legacy(folder: Path) -> float | None:
    """Of version 1: a quota below 1 is none."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
