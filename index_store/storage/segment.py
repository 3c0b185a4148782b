"""Segments: extracted data of photos, in files that never change once they are written.

A segment holds a few thousand photos: their descriptors, thumbnails, keypoints, sizes and SHA-256
digests. Its name is its own SHA-256, so a file can be verified by itself:

    blobs        thumbnail and keypoints of each photo, one photo after the other
    descriptors  float16 (n, D), at a multiple of ALIGNMENT
    table        TABLE (n,), with a checksum of each blob and descriptor
    footer       FOOTER, with a checksum of table and footer

Opening reads the table only. Each blob is compared with its checksum whenever it is read, and the
whole file with its name by `is_whole`. If that differs, `Segment.damaged` returns the affected
photos; the others remain usable.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from extractor import open_regular
from validation import KNOWN_KEYS, Positive

from ..errors import StoreCorrupt, unreadable
from .build_journal import Extracted

SUFFIX = ".segment"
NAME = re.compile("[0-9a-f]{64}")
PARTIAL = re.compile(r"\.writing-[0-9]{1,10}")
MAGIC = b"photo segment 02"
ALIGNMENT = 64
TABLE = np.dtype(
    [
        ("sha256", "S64"),  # of the photo's file
        ("height", "<u4"),
        ("width", "<u4"),
        ("start", "<u8"),  # offset of the thumbnail; the keypoints follow it
        ("thumbnail", "<u4"),  # bytes
        ("features", "<u4"),
        ("thumbnail_crc", "<u4"),
        ("features_crc", "<u4"),
        ("descriptor_crc", "<u4"),
    ]
)
FOOTER = np.dtype(
    [
        ("magic", "S16"),
        ("fingerprint", "S64"),  # `build_journal.digest` of the extraction's `facts`
        ("photos", "<u8"),
        ("dim", "<u8"),
        ("blobs", "<u8"),  # bytes
        ("check", "S64"),  # SHA-256 of the table and this footer, with this field empty
    ]
)


@dataclass(frozen=True)
class SegmentFacts:
    """A segment's entry in a manifest.

    Attributes:
        name: SHA-256 of the file.
        bytes: size of the file.
        photos: number of photos in it.
    """

    __pydantic_config__ = KNOWN_KEYS

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    bytes: Positive
    photos: Positive


class HashedFile:
    """A file being written, with a running SHA-256."""

    def __init__(self, file: BufferedWriter):
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: Any) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += memoryview(data).nbytes

    @property
    def name(self) -> str:
        return self._hash.hexdigest()


def segment_path(folder: Path, name: str) -> Path:
    """Path of a segment, by its name."""
    return folder / f"{name}{SUFFIX}"


def write_segment(
    folder: Path,
    photos: Iterable[tuple[str, Extracted]],
    dim: int,
    fingerprint: str,
    features_budget: int,
) -> SegmentFacts:
    """Write a segment under a dotted name, sync it, and rename it to its hash.

    Args:
        folder: folder of all segments.
        photos: SHA-256 and data of each photo.
        dim: components of a descriptor (D).
        fingerprint: equal for photos whose data may be in one store; 64 characters.
        features_budget: maximum bytes of keypoints; those beyond it are dropped.
    """
    table, descriptors = [], []
    partial = folder / f".writing-{os.getpid()}"
    partial.unlink(missing_ok=True)
    with open(partial, "xb") as raw:
        file = HashedFile(raw)
        for sha256, photo in photos:
            features_budget -= len(photo.features)
            features = photo.features if features_budget >= 0 else b""
            sizes = (*photo.size, file.size, len(photo.thumbnail), len(features))
            descriptor = np.asarray(photo.descriptor, "<f2").tobytes()
            checks = map(zlib.crc32, (photo.thumbnail, features, descriptor))
            table.append((sha256.encode(), *sizes, *checks))
            descriptors.append(descriptor)
            file.write(photo.thumbnail)
            file.write(features)
        blobs = file.size
        file.write(bytes(-blobs % ALIGNMENT))
        file.write(b"".join(descriptors))
        rows = np.array(table, TABLE)
        footer = np.array((MAGIC, fingerprint.encode(), len(table), dim, blobs, b""), FOOTER)
        footer["check"] = table_check(rows, footer)
        file.write(rows.tobytes())
        file.write(footer.tobytes())
        raw.flush()
        os.fsync(raw.fileno())
    partial.rename(segment_path(folder, file.name))
    sync(folder)
    return SegmentFacts(file.name, file.size, len(table))


def table_check(table: np.ndarray, footer: np.ndarray) -> bytes:
    """The checksum for `footer`."""
    plain = footer.copy()
    plain["check"] = b""
    return hashlib.sha256(table.tobytes() + plain.tobytes()).hexdigest().encode()


class Segment:
    """An open segment, memory-mapped and read-only, valid even if the file is deleted.

    Attributes:
        facts: the manifest's entry for it.
        descriptors: float16 (n, D).
        table: TABLE (n,).
        fingerprint: see `write_segment`.
    """

    def __init__(self, folder: Path, name: str):
        """Open a segment, and check everything except blobs and descriptors.

        Raises:
            StoreCorrupt: the segment is missing or damaged.
        """
        path = segment_path(folder, name)
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size < FOOTER.itemsize:
                    raise StoreCorrupt(f"{path.name} is damaged (too short). Build it again.")
                self._bytes = np.asarray(np.memmap(file, np.uint8, "r"))
        except OSError as error:
            raise unreadable(path.name, error) from None
        footer = self._bytes[size - FOOTER.itemsize :].view(FOOTER)[0]
        count, dim, blobs = (int(footer[key]) for key in ("photos", "dim", "blobs"))
        rows_at = blobs + -blobs % ALIGNMENT
        table_at = rows_at + 2 * count * dim
        whole = table_at + count * TABLE.itemsize + FOOTER.itemsize
        table = np.empty(0, TABLE)
        if whole == size:
            table = np.array(self._bytes[table_at : size - FOOTER.itemsize].view(TABLE))
        if (
            footer["magic"] != MAGIC
            or not len(table)
            or footer["check"] != table_check(table, np.array(footer))
        ):
            raise StoreCorrupt(f"{path.name} is damaged (its checksum differs). Build it again.")
        self.facts = SegmentFacts(name, size, count)
        self.fingerprint = footer["fingerprint"].decode("latin-1")
        self.table = table
        self.descriptors = self._bytes[rows_at:table_at].view("<f2").reshape(count, dim)

    def sha256(self, row: int) -> str:
        """SHA-256 of a photo's file."""
        return self.table[row]["sha256"].decode()

    def thumbnail(self, row: int) -> bytes:
        """Thumbnail of a photo as JPEG. Raises StoreCorrupt."""
        entry = self.table[row]
        return self._blob(int(entry["start"]), int(entry["thumbnail"]), entry["thumbnail_crc"])

    def features(self, row: int) -> bytes:
        """Stored keypoints of a photo; empty beyond the budget. Raises StoreCorrupt."""
        entry = self.table[row]
        start = int(entry["start"]) + int(entry["thumbnail"])
        return self._blob(start, int(entry["features"]), entry["features_crc"])

    def _blob(self, start: int, size: int, check: np.uint32) -> bytes:
        data = self._bytes[start : start + size].tobytes()
        if zlib.crc32(data) != check:
            raise StoreCorrupt(
                f"{self.facts.name}{SUFFIX} is damaged (a photo's checksum differs). "
                "Build the store again."
            )
        return data

    def damaged(self) -> list[int]:
        """Rows of the photos whose data differs from its checksums. Reads the whole segment."""
        return [row for row in range(len(self.table)) if not self._is_whole(row)]

    def _is_whole(self, row: int) -> bool:
        try:
            self.thumbnail(row), self.features(row)
        except StoreCorrupt:
            return False
        check = zlib.crc32(self.descriptors[row].tobytes())
        return check == self.table[row]["descriptor_crc"]

    def extracted(self, row: int) -> Extracted:
        """All stored data of a photo. Raises StoreCorrupt."""
        entry = self.table[row]
        return Extracted(
            descriptor=np.array(self.descriptors[row]),
            size=(int(entry["height"]), int(entry["width"])),
            thumbnail=self.thumbnail(row),
            features=self.features(row),
        )


def is_whole(folder: Path, name: str) -> bool:
    """Whether all bytes of a segment are intact.

    Raises:
        StoreCorrupt: the segment cannot be read.
        FileNotFoundError: the segment is missing.
    """
    path = segment_path(folder, name)
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == name
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path.name, error) from None


def verify_segment(folder: Path, name: str) -> None:
    """Raise StoreCorrupt unless a segment `is_whole`. Also raises the errors of `is_whole`."""
    if not is_whole(folder, name):
        raise differs(name)


def differs(name: str) -> StoreCorrupt:
    """The error for a segment that is not intact."""
    return StoreCorrupt(f"{name}{SUFFIX} is damaged (its checksum differs). Build the store again.")


def segments_in(folder: Path) -> list[str]:
    """Names of the segments in a folder, sorted; empty if there is no such folder."""
    try:
        found = [path.stem for path in folder.iterdir() if path.suffix == SUFFIX]
    except OSError:
        return []
    return sorted(name for name in found if NAME.fullmatch(name))


def sync(path: Path) -> None:
    """Sync a file or folder to disk, so that it survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
