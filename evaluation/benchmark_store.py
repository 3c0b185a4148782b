"""Stores of benchmarks: exactly the gallery's photos, linked into a folder if necessary."""

from __future__ import annotations

import tempfile
from pathlib import Path

from command import bar
from extractor import Extractor
from index_store import Store, StoreMissing, build
from index_store.sources.scan import scan

from .datasets import BadDataset, Benchmark
from .datasets.names import inside


def open_or_build(benchmark: Benchmark, path: Path, extractor: Extractor) -> Store:
    """Open or build the store of exactly the benchmark's gallery.

    The store is at `path`, or is built there; a killed build resumes. A folder with more photos
    than the gallery is not indexed directly (revisited Oxford's includes the queries). Then a
    folder of links is created next to the store.

    Args:
        benchmark: gallery, and how its photos are decoded.
        path: path of the store.
        extractor: extractor that describes the photos.

    Raises:
        BadDataset: the store at `path` holds other photos, or they were decoded differently.
        StoreError, BadModel, OSError: see `Store` and `build`.
    """
    try:
        store = Store(path, extractor)
    except StoreMissing:
        root = benchmark.root
        if scan(root).files != benchmark.gallery:
            root = link_gallery(benchmark, path.with_name(f"{path.name}-gallery"))
        build(root, path, extractor, bar, as_stored=benchmark.published)
        store = Store(path, extractor)
    held = {photo.file for photo in store.catalogue.photos()}
    indexed = held | {entry.file for entry in store.catalogue.skipped()}
    if other := sorted((held - set(benchmark.gallery)) | (set(benchmark.gallery) - indexed)):
        raise BadDataset(
            f"The store at {path} is not of the gallery of {benchmark.name}: {other[0]} is in one "
            "of them only. Name another place with --store, and it will be built there."
        )
    if store.as_stored != benchmark.published:
        raise BadDataset(
            f"The photos of the store at {path} were decoded in another way than {benchmark.name} "
            "asks for (as they are stored, or upright on white). Name another place with --store, "
            "and it will be built there."
        )
    return store


def link_gallery(benchmark: Benchmark, folder: Path) -> Path:
    """Create a folder with links to the gallery's photos, and nothing else.

    The links are created in a temporary folder, which is renamed when it is complete. An existing
    folder is used if it holds exactly these links. Otherwise it is left alone.

    Args:
        benchmark: gallery; its file names must stay inside `benchmark.root`.
        folder: target folder.

    Returns:
        `folder`.

    Raises:
        BadDataset: there is something else at `folder`, or a photo's name leads outside.
    """
    try:
        targets = {inside(file): (benchmark.root / file).resolve() for file in benchmark.gallery}
    except ValueError as error:
        raise BadDataset(f"The gallery of {benchmark.name} cannot be linked: {error}.") from None
    if folder.exists() or folder.is_symlink():
        if links_in(folder) != targets:
            raise BadDataset(
                f"{folder} is in the way: it is not the folder of links to the gallery of "
                f"{benchmark.name}. Move it away, or name another place with --store."
            )
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as temporary:
        links = Path(temporary) / "links"
        links.mkdir()
        for file, photo in targets.items():
            (links / file).parent.mkdir(parents=True, exist_ok=True)
            (links / file).symlink_to(photo)
        links.rename(folder)
    return folder


def links_in(folder: Path) -> dict[str, Path] | None:
    """Links in a folder and their targets; None if it contains anything else except folders."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = path.readlink()
        elif not path.is_dir():
            return None
    return found
