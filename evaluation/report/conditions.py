"""Under which conditions a figure was measured: code, day, processor, threads, engine."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from extractor import available_cores
from plurals import quantity

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = (":!docs", ":!README.md")  # what a measurement writes itself does not change the code
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


@dataclass(frozen=True)
class Conditions:
    """What a reader must know of a figure.

    Attributes:
        commit: of this repository; "+" follows where files were changed since, "unknown" stands
            for a copy without its history.
        date: UTC, ISO 8601.
        processor: its name, and which of the instructions that engines choose by it has.
        threads: that were to be had.
        engine: that described the photos.
    """

    commit: str
    date: str
    processor: str
    threads: int
    engine: str

    def __str__(self) -> str:
        threads = quantity(self.threads, "thread")
        return f"commit {self.commit}, {self.date}, {self.processor}, {threads}, {self.engine}"


def conditions(engine: str) -> Conditions:
    """Those of now and here."""
    date = datetime.now(UTC).date().isoformat()
    return Conditions(commit(), date, processor(), available_cores(), engine)


def commit() -> str:
    """The commit that this code is of."""
    try:
        found = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}+" if changed else found


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, check=True, text=True
    ).stdout.strip()


def processor() -> str:
    """Name of the processor, and those of FEATURES that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
    return " ".join([name, *(feature for feature in FEATURES if feature in flags)])


def hardware() -> str:
    """One line on what was measured on, for what runs several engines or none."""
    return str(conditions("")).removesuffix(", ")
