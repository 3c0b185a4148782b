"""Measurement conditions: code, date, processor, threads, engine."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from extractor import available_cores
from plurals import quantity
from validation import KNOWN_KEYS, Count

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = (":!docs", ":!README.md")  # written by measurements, and not part of the code
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


@dataclass(frozen=True)
class Conditions:
    """Conditions under which a figure was measured.

    Attributes:
        commit: commit of this repository; followed by "+" if files were changed since, "unknown"
            for a copy without history.
        date: UTC date, ISO 8601.
        processor: name, and those of its instruction sets that affect the choice of engine.
        threads: number of available threads.
        engine: engine that described the photos.
    """

    __pydantic_config__ = KNOWN_KEYS

    commit: str
    date: str
    processor: str
    threads: Count
    engine: str

    def __str__(self) -> str:
        threads = quantity(self.threads, "thread")
        return f"commit {self.commit}, {self.date}, {self.processor}, {threads}, {self.engine}"


def conditions(engine: str) -> Conditions:
    """The current conditions."""
    date = datetime.now(UTC).date().isoformat()
    return Conditions(commit(), date, processor(), available_cores(), engine)


def commit() -> str:
    """The current commit of this code."""
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
    """Name of the processor, and the FEATURES it has."""
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
    """One line about the machine, for commands that run several engines or none."""
    return str(conditions("")).removesuffix(", ")
