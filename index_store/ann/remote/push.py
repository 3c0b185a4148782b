"""Push a store's descriptors to a Milvus collection, or switch back to the store's own index."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from index_store.errors import StoreError
from index_store.global_artifacts import Derived, Progress, silent
from index_store.storage.manifest import Manifest
from index_store.storage.publish import content_of, locked_for_update, publish

from .collection import Collection, checked_address, new_family
from .milvus import MilvusIndex, rows_in_a_message


@dataclass(frozen=True)
class Pushed:
    """Result of a push.

    Attributes:
        collection: where the descriptors are.
        photos: number of descriptors.
        coded: number of descriptors that the server keeps as IVF-PQ codes.
        lists: inverted lists per segment of the server.
        code_bytes: bytes of a vector's code.
        dropped: older collections of this store that were deleted.
    """

    collection: Collection
    photos: int
    coded: int
    lists: int
    code_bytes: int
    dropped: list[str]


def push(store: str | Path, address: str, progress: Progress = silent) -> Pushed:
    """Copy a store's descriptors into a new collection, which is searched from then on.

    When photos are added or removed later, the new generation is searched with the store's own
    index until it is pushed as well. The previous collection is kept until the next push, for pages
    that have not loaded this generation yet; older ones are deleted.

    Args:
        store: folder of the store.
        address: URL of the server, such as http://localhost:19530. The environment variable
            GEM_MILVUS_TOKEN holds its token, if it needs one.
        progress: see `build`.

    Raises:
        IndexUnavailable: the server does not answer, or does not index everything. The collection
            is then deleted, and the store is unchanged.
        StoreMissing, StoreMismatch, StoreCorrupt: see `Store`.
        StoreBusy, StoreUnwritable: see `build`.
    """
    store, address = Path(store), checked_address(address)
    with locked_for_update(store) as live:
        before = live.manifest.collection
        family = new_family() if before is None else before.family
        collection = Collection(
            address, f"{family}_{live.generation}", live.generation, live.manifest.content
        )
        descriptors = cast(np.ndarray, live.descriptors)  # read like an array
        index = MilvusIndex(address, collection.name, live.manifest.dim)
        try:
            index.create(collection.description)
            index.train(descriptors)
            rows_per_message = rows_in_a_message(live.manifest.dim)
            starts = range(0, len(live), rows_per_message)
            for start in progress(starts, len(starts), "push"):
                index.add(descriptors[start : start + rows_per_message])
            for _ in progress(range(1), 1, "index"):
                coded = index.seal()
        except BaseException:
            with suppress(StoreError):
                index.drop()
            raise
        publish(store, content_of(live), live.rows, lambda _: Derived.of(live), collection)
        collections_to_keep = (
            {collection.name} if before is None else {collection.name, before.name}
        )
        dropped: list[str] = []
        with suppress(StoreError):  # the next push retries
            dropped = index.drop_others(family, collections_to_keep)
        stats = index.stats()
        return Pushed(collection, len(live), coded, stats.lists, stats.code_bytes, dropped)


def use_own_index(store: str | Path) -> Manifest:
    """Search a store with its own index again. Contacts no server; the collection is not deleted.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: see `Store`.
        StoreBusy, StoreUnwritable: see `build`.
    """
    store = Path(store)
    with locked_for_update(store) as live:
        collection = live.manifest.searched_in
        if collection is None:
            return live.manifest
        unused = collection.set_aside()
        return publish(store, content_of(live), live.rows, lambda _: Derived.of(live), unused)
