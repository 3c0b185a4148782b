"""Peak memory of a process."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """Peak resident memory of this process in MB. Linux only.

    `getrusage` would also include that of the parent process.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
