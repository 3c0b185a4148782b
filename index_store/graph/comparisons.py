"""Cache of comparisons between pairs of photos, keyed by the photos' content.

Whether two photos match depends on nothing else, so a comparison outlives additions, removals and
rebuilds. The file is append-only:

    head     MAGIC, and the SHA-256 of the parameters of a comparison
    records  RECORD (n,), each with its own checksum

A torn or damaged record is skipped, and its pair is compared again. A file with another head is
replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor import open_regular

FILE_NAME = "comparisons"
MAGIC = b"comparisons 0001"
HEAD_BYTES = len(MAGIC) + hashlib.sha256().digest_size
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
RECORD = np.dtype(
    [
        *KEY.descr,
        ("inliers", "<u2"),
        ("matches", "<u2"),
        ("coverage", "<f4"),
        ("check", "<u4"),
    ]
)
MAX_RECORDS = 2**16 - 1
# Odd factors, so that changing any single word changes the checksum.
FACTORS = np.array(
    [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D], np.uint32
)


@dataclass(frozen=True)
class Evidence:
    """Results of comparing m pairs of photos.

    Attributes:
        inliers, matches: as in `Verification`, int (m,), at most 65,535.
        coverage: as in `Verification`, float32 (m,).
    """

    inliers: np.ndarray
    matches: np.ndarray
    coverage: np.ndarray


class Comparisons:
    """The comparisons of a store. The caller holds the store's write lock."""

    def __init__(self, store: Path, parameters: dict[str, dict]):
        """Load the existing comparisons.

        Args:
            store: folder of the store.
            parameters: parameters of a comparison, as JSON. Comparisons with other parameters are
                deleted by the next `append`.

        Raises:
            OSError: the file cannot be read.
        """
        self._path = store / FILE_NAME
        facts = json.dumps(parameters, sort_keys=True).encode()
        self._head = MAGIC + hashlib.sha256(facts).digest()
        records = self._read()
        self._records = records[np.argsort(records["high"], kind="stable")]

    def _read(self) -> np.ndarray:
        """The intact records, RECORD (n,)."""
        try:
            with open_regular(self._path) as file:
                data = file.read()
        except FileNotFoundError:
            return np.empty(0, RECORD)
        if not data.startswith(self._head):
            return np.empty(0, RECORD)
        records = records_in(data[len(self._head) :])
        return records[records["check"] == checks(records)]

    def __len__(self) -> int:
        return len(self._records)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, Evidence]:
        """Look up pairs.

        Args:
            keys: output of `pair_keys`, (m,).

        Returns:
            Which of them are known, bool (m,), and the evidence of all, 0 for unknown ones.
        """
        found = np.zeros(len(keys), RECORD)
        is_found = np.zeros(len(keys), bool)
        if len(self._records) and len(keys):
            positions = np.searchsorted(self._records["high"], keys["high"])
            found = self._records[positions.clip(0, len(self._records) - 1)]
            is_found = (found["high"] == keys["high"]) & (found["low"] == keys["low"])
            found = np.where(is_found, found, np.zeros(1, RECORD))
        return is_found, Evidence(
            found["inliers"].astype(int), found["matches"].astype(int), found["coverage"]
        )

    def append(self, keys: np.ndarray, evidence: Evidence) -> None:
        """Store the evidence of more pairs, also on disk, so that a killed build can resume.

        Args:
            keys: output of `pair_keys`, (m,).
            evidence: evidence of these pairs.

        Raises:
            OSError: the file cannot be written.
        """
        records = np.zeros(len(keys), RECORD)
        records["high"], records["low"] = keys["high"], keys["low"]
        records["inliers"], records["matches"] = (
            np.minimum(column, MAX_RECORDS) for column in (evidence.inliers, evidence.matches)
        )
        records["coverage"] = evidence.coverage
        records["check"] = checks(records)
        held = self._whole_bytes()
        if held is None:
            write_whole(self._path, self._head, np.concatenate([self._records, records]))
        else:
            with open(self._path, "r+b") as file:
                file.truncate(held)  # drops a record that a killed build left incomplete
                file.seek(held)
                file.write(records.tobytes())
        records = np.concatenate([self._records, records])
        self._records = records[np.argsort(records["high"], kind="stable")]

    def _whole_bytes(self) -> int | None:
        """Size of the file up to its last complete record; None if it must be replaced."""
        try:
            with open_regular(self._path) as file:
                if file.read(len(self._head)) != self._head:
                    return None
                size = os.fstat(file.fileno()).st_size - len(self._head)
        except FileNotFoundError:
            return None
        return len(self._head) + size // RECORD.itemsize * RECORD.itemsize


def pair_keys(names: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """Keys of pairs of photos, independent of their order: KEY (m,).

    Args:
        names: names of the photos, see `matching_graph.names_of`.
        pairs: indices into `names`, int (m, 2).
    """
    digests = b"".join(
        hashlib.sha256(" ".join(sorted((names[first], names[second]))).encode()).digest()[:16]
        for first, second in pairs.tolist()
    )
    return np.frombuffer(digests, KEY)


def records_in(body: bytes) -> np.ndarray:
    """The complete records, RECORD (n,)."""
    return np.frombuffer(body[: len(body) // RECORD.itemsize * RECORD.itemsize], RECORD)


def checks(records: np.ndarray) -> np.ndarray:
    """Checksum of each record, uint32 (n,). records: RECORD (n,)."""
    words = np.ascontiguousarray(records).view("<u4")
    words = words.reshape(len(records), RECORD.itemsize // 4)[:, :-1]
    return ~(words * FACTORS).sum(1, dtype=np.uint32)


def write_whole(path: Path, head: bytes, records: np.ndarray) -> None:
    """Replace the file. records: RECORD (n,). Raises OSError."""
    partial = path.with_name(f".{path.name}")
    partial.unlink(missing_ok=True)  # it may be a link, which must not be followed
    with open(partial, "xb") as file:
        file.write(head)
        file.write(records.tobytes())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def keep_only(store: Path, keys: np.ndarray) -> None:
    """Delete all comparisons except those of some pairs. Damaged records are deleted too.

    Args:
        store: folder of the store.
        keys: output of `pair_keys`, (m,).

    Raises:
        OSError: the file cannot be replaced.
    """
    path = store / FILE_NAME
    try:
        with open_regular(path) as file:
            head, body = file.read(HEAD_BYTES), file.read()
    except FileNotFoundError:
        return
    records = records_in(body)
    current = np.isin(records["high"], keys["high"]) & (records["check"] == checks(records))
    if current.sum() < len(records):
        write_whole(path, head, records[current])
