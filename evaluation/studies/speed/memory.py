"""How much memory a process has taken."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """The most memory that this process has had resident, MB. Linux only.

    `getrusage` would also count what the process that started this one had.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
