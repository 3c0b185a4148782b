"""Pack a pool of photos for training on another machine. See `packed` for the layout."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image

from extractor import BadPhoto, in_order, read_photo, resize

from ..common.pairs import BadTrainingData, photos_in
from .packed import FILE, MAX_PART, MAX_SIDE, MIN_SIDE, Pack, PhotoPart, entry_name, part_name
from .parts import MAX_PARTS, BadParts, read_manifest, write_manifest, write_part

QUALITY = 80  # of the WebP files
ENTRY = 128  # maximum bytes that zip adds per entry
Progress = Callable[[Iterable[Path]], Iterable[Path]]


def pack(
    pool: Sequence[Path], out: Path, side: int, progress: Progress = iter, max_bytes: int = MAX_PART
) -> Pack:
    """Write a pool as WebP files in parts. Resumes an interrupted pack of the same pool.

    Args:
        pool: folders of photos, searched with their sub-folders.
        out: folder for the parts; empty, new, or of an interrupted `pack` of the same pool.
        side: longest side in pixels to which photos are shrunk.
        progress: receives the remaining files, and must yield them.
        max_bytes: maximum bytes per part.

    Returns:
        The manifest.

    Raises:
        BadTrainingData: there are no photos, or `side` is out of range.
        BadParts: `out` has other files, or a pack of another pool.
        OSError: `out` cannot be written.
    """
    if not MIN_SIDE <= side <= MAX_SIDE:
        raise BadTrainingData(f"--side must be from {MIN_SIDE} to {MAX_SIDE}, not {side}")
    files = photos_in(pool)
    manifest = begin(out, Pack(side=side, quality=QUALITY, pool=digest(files), files=len(files)))
    if manifest.is_complete:
        return manifest
    done = manifest.parts[-1].read if manifest.parts else 0
    part = Builder(out, manifest, done)
    for photo in in_order(lambda path: shrink(path, side), progress(files[done:])):
        if photo is not None and part.size + len(photo) + ENTRY > max_bytes:
            part.close()
        part.add(photo)
    part.close()
    if not manifest.parts:
        raise BadTrainingData(f"none of the photos in {', '.join(map(str, pool))} can be read")
    manifest.is_complete = True
    write_manifest(out / FILE, manifest)
    return manifest


def begin(out: Path, fresh: Pack) -> Pack:
    """The manifest to continue: of existing parts, or a new one. Raises BadParts."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / FILE).is_file():
        found = read_manifest(out / FILE, Pack)
        if (found.side, found.quality, found.pool) != (fresh.side, fresh.quality, fresh.pool):
            raise BadParts(
                f"{out} holds a pack of other photos or of another side; choose another folder"
            )
        return found
    if any(out.iterdir()):
        raise BadParts(f"{out} holds other files; choose an empty folder")
    write_manifest(out / FILE, fresh)
    return fresh


def digest(files: Sequence[Path]) -> str:
    """SHA-256 over names and sizes of the files, which identifies a pool."""
    above = os.path.commonpath([path.parent for path in files])
    facts = [(os.fsencode(path.relative_to(above)).hex(), path.stat().st_size) for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def shrink(path: Path, side: int) -> bytes | None:
    """A photo shrunk to a longest side of `side`, as a WebP file; None if it is useless."""
    try:
        pixels = resize(read_photo(path), side)
    except (BadPhoto, OSError):
        return None
    if min(pixels.shape[:2]) < MIN_SIDE:
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


class Builder:
    """Fills one part after another.

    Args:
        out: folder for the parts.
        manifest: manifest, extended by each part.
        read: number of the pool's photos before the first part.
    """

    def __init__(self, out: Path, manifest: Pack, read: int):
        self._out, self._manifest, self._read = out, manifest, read
        self._start()

    def _start(self) -> None:
        self._photos: list[bytes] = []
        self._skipped = 0
        self.size = ENTRY  # end of the archive

    def add(self, photo: bytes | None) -> None:
        """Add the next photo of the pool; None for a useless one."""
        self._read += 1
        if photo is None:
            self._skipped += 1
        else:
            self._photos.append(photo)
            self.size += len(photo) + ENTRY

    def close(self) -> None:
        """Write the part and the manifest. Raises BadParts if there are too many parts."""
        manifest = self._manifest
        manifest.left_out += self._skipped
        if self._photos:
            number = len(manifest.parts)
            if number == MAX_PARTS:
                raise BadParts(f"{MAX_PARTS} parts do not hold the pool; choose a smaller --side")
            written = write_part(self._out, part_name(number), archive_of(self._photos))
            manifest.parts.append(
                PhotoPart(**written.model_dump(), photos=len(self._photos), read=self._read)
            )
            write_manifest(self._out / FILE, manifest)
        self._start()


def archive_of(photos: Sequence[bytes]) -> bytes:
    """An uncompressed zip archive of photos; equal for equal photos."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, photo in enumerate(photos):
            archive.writestr(zipfile.ZipInfo(entry_name(number)), photo)
    return buffer.getvalue()
