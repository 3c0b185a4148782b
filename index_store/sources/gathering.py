"""Gather a store's sources: collect photos of lists and manifests, list folders."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from pathlib import Path

from ..about import read_about
from ..errors import NothingToIndex, StoreError
from ..global_artifacts import Progress
from ..storage.catalogue import Skipped
from ..storage.generation import opening
from ..storage.publish import locked
from .collected.collected import Collected
from .collected.fetch import Web
from .collected.state import FOLDER, failures_of, listed_in
from .removal import names_in, removed_in
from .scan import Listing, scan
from .sources import Sources, check_apart


def folder_of(photos: str | Path) -> Path:
    """The resolved path of a folder. Raises NothingToIndex if it does not exist."""
    try:
        return Path(photos).expanduser().resolve(strict=True)
    except (OSError, RuntimeError):  # missing, an unknown user, or a circle of links
        raise NothingToIndex(f"There is no folder {photos}.") from None


def sources_for(
    folders: Sequence[str | Path],
    store: Path,
    exclude: Sequence[str] | None,
    follow_links: bool | None,
    lists: Sequence[str | Path] = (),
    manifests: Sequence[str] = (),
    private: bool = False,
) -> Sources:
    """Sources for a build; None keeps the store's existing settings. Raises NothingToIndex."""
    found = list(dict.fromkeys(folder_of(folder) for folder in folders))
    if lists or manifests:
        found.append(store.absolute() / FOLDER)
    if not found:
        raise NothingToIndex("No folder of photos is named.")
    check_apart(found)
    stored = Sources((), (), False)
    with suppress(StoreError), opening(store) as generation:
        stored = generation.manifest.sources
    return Sources(
        tuple(map(str, found)),
        stored.exclude if exclude is None else tuple(exclude),
        stored.follow_links if follow_links is None else follow_links,
        tuple(str(Path(path).absolute()) for path in lists),
        tuple(dict.fromkeys(manifests)),
        private,
    )


def gather(
    store: Path, sources: Sources, progress: Progress, web: Web | None = None, refetch: bool = False
) -> None:
    """Collect the photos of lists and manifests in the store's folder for them.

    Args:
        store: folder of the store.
        sources: the lists and manifests.
        progress: see `build`.
        web: see `build`.
        refetch: whether to check if photos fetched before have changed.

    Raises:
        BadList: a list or a manifest cannot be read.
        StoreBusy, StoreUnwritable: see `build`.
    """
    if not sources.lists and not sources.manifests:
        return
    with (
        nullcontext(web) if web else closing(Web(sources.private)) as web,
        locked(store),
        closing(Collected(store, web)) as collected,
    ):
        removed = names_in(collected.folder, *removed_in(store))
        collected.collect(
            sources, removed, lambda items, total: progress(items, total, "lists"), refetch
        )


def list_sources(sources: Sources, store: Path) -> Listing:
    """`scan` of a store's sources, with the gallery's description, and failed downloads.

    Raises the errors of `scan`, and BadAbout.
    """
    texts = read_about(sources.roots)
    failed: list[Skipped] = []
    only: dict[Path, frozenset[str]] = {}
    if sources.lists or sources.manifests:
        failed = failures_of(store)
        if (listed := listed_in(store)) is not None:
            only = {store.absolute() / FOLDER: listed}
    try:
        listing = scan(sources.roots, sources.exclude, sources.follow_links, only)
    except NothingToIndex as error:
        reason = f" {failed[0].file}: {failed[0].reason}" if failed else ""
        raise NothingToIndex(f"{error}{reason}") from None
    facts = [
        listing.digest,
        texts.to_json(),
        *(f"{failure.file} {failure.reason}" for failure in failed),
    ]
    digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    foreign = listing.foreign + failed
    return dataclasses.replace(listing, digest=digest, about=texts, foreign=foreign)
