"""Fetch photos of open data sets from their public repositories, and shrink them to 640 pixels."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from command import bar
from download import download, write_json
from plurals import quantity

from . import BadDataset
from .catalogue import OpenPhoto, OpenSet

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "PPM")  # of the originals, which are verified by SHA-256
SIDE, QUALITY = 640, 90  # of a rendering: longest side in pixels, JPEG quality
CONNECTIONS = 8  # concurrent downloads
IMAGES, ORIGINALS = "images", ".originals"  # folders of a set; the second is temporary


def render(original: Path) -> bytes:
    """Render a photo as used for all figures: upright, at most SIDE pixels, as JPEG.

    Raises:
        BadDataset: the photo cannot be decoded.
    """
    try:
        with Image.open(original, formats=FORMATS) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            photo = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadDataset(f"{original.name} cannot be decoded ({error}).") from error
    photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def get_photos(open_set: OpenSet, root: Path, mirrors: Sequence[str]) -> None:
    """Fetch missing photos into ROOT/images, and write groups.json and kinds.json next to it.

    A photo gets its final name once it is complete, so an interrupted run can be resumed.

    Args:
        open_set: set to fetch.
        root: folder of the set.
        mirrors: URLs that are tried before the repositories' own.

    Raises:
        DownloadFailed: a photo cannot be fetched or has the wrong checksum.
        BadDataset, OSError: a photo cannot be decoded or written.
    """
    missing = missing_photos(open_set, root)
    if not missing and (root / "groups.json").exists():
        return  # the folder may be read-only
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        done = pool.map(partial(get_photo, root=root, mirrors=mirrors), missing)
        try:
            for _ in bar(done, len(missing), "photos"):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    delete_originals(open_set, root / ORIGINALS)
    write_json(root / "groups.json", open_set.groups)
    if open_set.kinds:
        write_json(root / "kinds.json", open_set.kinds)


def get_photo(photo: OpenPhoto, root: Path, mirrors: Sequence[str]) -> None:
    """Fetch and render one photo. Raises as `get_photos`."""
    original = download(
        photo.remote, root / ORIGINALS / photo.file, mirrors, root / "pins.json", progress=False
    )
    rendering = root / ORIGINALS / f"{photo.file}.rendering"
    rendering.write_bytes(render(original))
    rendering.replace(root / IMAGES / photo.file)
    original.unlink()


def delete_originals(open_set: OpenSet, folder: Path) -> None:
    """Delete leftovers of interrupted runs, and the folder if it is then empty."""
    for photo in open_set.photos:
        for name in (photo.file, f"{photo.file}.rendering"):
            (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def missing_photos(open_set: OpenSet, root: Path) -> list[OpenPhoto]:
    """Photos that are not in ROOT/images."""
    return [photo for photo in open_set.photos if not (root / IMAGES / photo.file).is_file()]


def check_photos(open_set: OpenSet, root: Path) -> list[str]:
    """Notes on photos whose SHA-256 differs from those that the published figures were measured on.

    Raises:
        BadDataset: photos are missing.
    """
    if missing := missing_photos(open_set, root):
        raise BadDataset(
            f"{quantity(len(missing), 'photo')} of {open_set.name} missing in {root / IMAGES}, the "
            f"first: {missing[0].file}. Run: python -m evaluation data get {open_set.name}"
        )
    others = [
        photo.file
        for photo in open_set.photos
        if hashlib.sha256((root / IMAGES / photo.file).read_bytes()).hexdigest() != photo.rendering
    ]
    if not others:
        return []
    return [
        f"{quantity(len(others), 'photo')} of {open_set.name} with other bytes than the manifest "
        f"says, the first: {others[0]}. Another libjpeg writes other bytes; a photo that was "
        "changed is fetched again once its file is deleted."
    ]
