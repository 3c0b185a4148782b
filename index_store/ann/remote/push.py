"""A store's descriptors in a Milvus collection, and back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from index_store.errors import StoreError
from index_store.global_artifacts import Derived, Progress, silent
from index_store.storage.manifest import Manifest
from index_store.storage.publish import content_of, locked_for_update, replace

from .collection import Collection, checked_address, new_family
from .milvus import MilvusIndex, rows_in_a_message


@dataclass(frozen=True)
class Pushed:
    """What a push has done.

    Attributes:
        collection: Where the descriptors are.
        photos: How many there are.
        coded: How many of them the server has packed into IVF-PQ codes.
        lists: Inverted lists of each of its segments.
        code_bytes: Of one vector's code.
        dropped: Older collections of this store that were deleted.
    """

    collection: Collection
    photos: int
    coded: int
    lists: int
    code_bytes: int
    dropped: list[str]


def push(store: str | Path, address: str, progress: Progress = silent) -> Pushed:
    """Fill a collection with a store's descriptors, and let the store search there.

    Photos that come or go later make a generation of other content: that is searched with the
    store's own index, until it is pushed, too. The collection that was searched before stays until
    the next push, for pages that have not yet taken up this generation. Older ones are deleted.

    Args:
        store: The store's folder.
        address: Of the server, such as http://localhost:19530. The environment variable
            GEM_MILVUS_TOKEN holds its token, if it wants one.
        progress: As of `build`.

    Raises:
        IndexUnavailable: The server does not answer, or does not index all of it. Then it keeps
            nothing of this push, and the store is as it was.
        StoreMissing, StoreMismatch, StoreCorrupt: As `Store`.
        StoreBusy, StoreUnwritable: As `build`.
    """
    store, address = Path(store), checked_address(address)
    with locked_for_update(store) as live:
        before = live.manifest.collection
        family = new_family() if before is None else before.family
        collection = Collection(
            address, f"{family}_{live.generation}", live.generation, live.manifest.content
        )
        descriptors = cast(np.ndarray, live.descriptors)  # reads as one
        index = MilvusIndex(address, collection.name, live.manifest.dim)
        try:
            index.create(collection.description)
            index.train(descriptors)
            size = rows_in_a_message(live.manifest.dim)
            starts = range(0, len(live), size)
            for start in progress(starts, len(starts), "push"):
                index.add(descriptors[start : start + size])
            for _ in progress(range(1), 1, "index"):
                coded = index.seal()
        except BaseException:
            with suppress(StoreError):
                index.drop()
            raise
        replace(store, content_of(live), live.rows, lambda _: Derived.of(live), collection)
        kept = {collection.name} if before is None else {collection.name, before.name}
        dropped: list[str] = []
        with suppress(StoreError):  # the next push tries again
            dropped = index.drop_others(family, kept)
        stats = index.stats()
        return Pushed(collection, len(live), coded, stats.lists, stats.code_bytes, dropped)


def take_back(store: str | Path) -> Manifest:
    """Let a store search its own index again. No server is asked; its collection stays.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: As `Store`.
        StoreBusy, StoreUnwritable: As `build`.
    """
    store = Path(store)
    with locked_for_update(store) as live:
        collection = live.manifest.searched_in
        if collection is None:
            return live.manifest
        unused = collection.set_aside()
        return replace(store, content_of(live), live.rows, lambda _: Derived.of(live), unused)
