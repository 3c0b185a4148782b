"""Download published archives, and unpack them into one folder of photos."""

from __future__ import annotations

import fnmatch
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from download import download

from . import BadDataset
from .catalogue import Piece, PublishedSet

ARCHIVES = ".archives"  # temporary folder for the archives of a set
MAX_PHOTOS = 20_000  # per archive; no published set has more
MAX_PHOTO_BYTES = 64 * 2**20
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # zipfile: encrypted, or an unknown compression
    ValueError,
)


def get_pieces(published: PublishedSet, root: Path, mirrors: Sequence[str]) -> None:
    """Fetch the missing parts of a published set, in the layout that its reader expects.

    A folder of photos gets its final name once all its archives are unpacked. The archives are then
    deleted.

    Args:
        published: set to fetch.
        root: folder of the set.
        mirrors: URLs that are tried before the published ones.

    Raises:
        DownloadFailed: a file cannot be fetched or has the wrong checksum.
        BadDataset: an archive is damaged or has unexpected content.
        OSError: a file cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    for to in dict.fromkeys(piece.to for piece in published.pieces):
        pieces = [piece for piece in published.pieces if piece.to == to]
        if (root / to).exists() and pieces[0].members:
            continue
        if not pieces[0].members:
            download(pieces[0].remote, root / to, mirrors)
            continue
        archives = [
            download(piece.remote, root / ARCHIVES / Path(piece.remote.url).name, mirrors)
            for piece in pieces
        ]
        partial = root / f".{to}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of an interrupted run
        partial.mkdir()
        for piece, archive in zip(pieces, archives):
            unpack(archive, piece, partial)
        partial.rename(root / to)
        for archive in archives:
            archive.unlink()
        (root / ARCHIVES).rmdir()


def unpack(archive: Path, piece: Piece, folder: Path) -> None:
    """Write the photos of an archive into a folder, by their names without folders.

    Only regular files that match `piece.members` are read, so no path in the archive can lead
    outside.

    Raises:
        BadDataset: the archive is damaged, has no photo or two of the same name, or exceeds
            MAX_PHOTOS or MAX_PHOTO_BYTES.
    """
    extract = read_zip if archive.suffix == ".zip" else read_tar
    count = 0
    try:
        for name, size, file in extract(archive, piece.members):
            to = folder / Path(name).name
            count += 1
            if count > MAX_PHOTOS or size > MAX_PHOTO_BYTES:
                raise BadDataset(
                    f"{archive.name} has more than {MAX_PHOTOS:,} photos, or one larger than "
                    f"{MAX_PHOTO_BYTES // 2**20} MB: {name}."
                )
            if to.exists():
                raise BadDataset(f"{archive.name} has two photos named {to.name}.")
            with file, to.open("wb") as out:
                shutil.copyfileobj(file, out, 2**20)
    except DAMAGED as error:
        raise BadDataset(
            f"{archive} is damaged ({error}). Delete it and run this again."
        ) from error
    if not count:
        raise BadDataset(
            f"{archive.name} has no photo that matches {piece.members}: {piece.remote.url} is "
            "another archive."
        )


def read_tar(archive: Path, members: str) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size in bytes and content of the files that match a pattern."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and fnmatch.fnmatch(member.name, members):
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                yield member.name, member.size, content


def read_zip(archive: Path, members: str) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size in bytes and content of the files that match a pattern."""
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            if not entry.is_dir() and fnmatch.fnmatch(entry.filename, members):
                yield entry.filename, entry.file_size, zipped.open(entry)
