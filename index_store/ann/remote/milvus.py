"""An index in a Milvus server, for galleries that outgrow one machine.

The server packs vectors into IVF-PQ codes (Jegou et al. 2011), segment by segment, each with lists
of its own. Of a small segment it makes none, and compares its vectors exactly.

pymilvus, the server's client, is imported when the first index is opened; requirements-milvus.txt
names it. Nothing else of the project needs it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from index_store.errors import IndexUnavailable
from plurals import quantity

from ..faiss_index import IndexStats
from ..presets import (
    CODE_DIM,
    NPROBE,
    IndexParameters,
    most_bits,
    most_codes,
    most_lists,
)
from .collection import TOKEN, Collection, are_of

KEY, VECTOR = "id", "descriptor"  # fields of a collection
FORM = "IVF_PQ"
SEGMENT_BYTES = 512 * 2**20  # of vectors in a full segment, unless a server is told otherwise
LEAST_INDEXED = 1024  # vectors; of smaller segments servers make no index
INSERT_BYTES = 8 * 2**20  # of vectors in a message
ANSWER_S = 10.0  # for a search, a look, and for finding the server
LOADING_S = 600.0  # for a collection to come into the servers' memory
STALLED_S = 3600.0  # for building to finish no segment
LOOK_S = 0.2


class MilvusIndex:
    """A collection of a Milvus server. Searching is thread-safe; changing it is not.

    Attributes:
        address: Of the server.
        name: Of the collection.
        effort: Lists of each segment that a search visits (nprobe).
    """

    def __init__(self, address: str, name: str, dim: int):
        """Connect to a server, which need not have the collection.

        Args:
            address: As of `Collection`.
            name: Of the collection.
            dim: Components of a vector.

        Raises:
            IndexUnavailable: There is no answer, or no client to ask with.
        """
        self.address, self.name, self.effort = address, name, NPROBE
        self._client = connect(address)
        self._sealed = True  # nothing was added since it was built
        self._changed = False  # by this object, which is to see it at once
        self._stats = IndexStats(vectors=0, removed=0, dim=dim, bytes=0)

    def create(self, description: str) -> None:
        """Make the collection; one of this name that is there already is dropped.

        Raises IndexUnavailable.
        """
        from pymilvus import DataType

        self.drop()
        with asking(self.address):
            schema = self._client.create_schema(auto_id=False, description=description)
            schema.add_field(KEY, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self._stats.dim)
            self._client.create_collection(self.name, schema=schema)

    def drop(self) -> None:
        """Delete the collection, if it is there. Raises IndexUnavailable."""
        with asking(self.address):
            if self._client.has_collection(self.name, timeout=ANSWER_S):
                self._client.drop_collection(self.name)

    def drop_others(self, family: str, kept: set[str]) -> list[str]:
        """Delete the collections of a store, but for some. Raises IndexUnavailable.

        Returns:
            Their names.
        """
        with asking(self.address):
            there = self._client.list_collections(timeout=ANSWER_S)
            doomed = [name for name in are_of(family, there) if name not in kept]
            for name in doomed:
                self._client.drop_collection(name)
        return doomed

    def train(self, rows: np.ndarray) -> None:
        """Say how the server is to index. It learns lists and codes by itself, of each segment."""
        dim = self._stats.dim
        whole = min(len(rows), SEGMENT_BYTES // (4 * dim))
        params = {
            "nlist": most_lists(whole),
            "m": most_codes(dim, CODE_DIM),
            "nbits": most_bits(whole),
        }
        with asking(self.address):
            wanted = self._client.prepare_index_params()
            wanted.add_index(VECTOR, index_type=FORM, index_name=VECTOR, metric_type="L2", **params)
            self._client.create_index(self.name, wanted)
        self._learn_form()

    def add(self, rows: np.ndarray) -> None:
        dim, first = self._stats.dim, self._stats.vectors
        size = rows_in_a_message(dim)
        for start in range(0, len(rows), size):
            block = np.ascontiguousarray(rows[start : start + size], np.float32)
            with asking(self.address):
                self._client.insert(
                    self.name,
                    [{KEY: first + start + i, VECTOR: row} for i, row in enumerate(block)],
                )
        self._count(len(rows), 0)
        self._sealed, self._changed = False, True

    def remove(self, ids: np.ndarray) -> None:
        ids = np.asarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self._stats.vectors:
            raise IndexError("There is no vector with such an id.")
        if not self._sealed:
            self.seal()
        with asking(self.address):
            self._client.delete(self.name, ids=ids.tolist())
        self._count(0, len(ids))
        self._changed = True

    def seal(self) -> int:
        """Let the server index what was added, and load it. Raises IndexUnavailable.

        Returns:
            How many vectors are in IVF-PQ codes: all but those of small segments.
        """
        with asking(self.address):
            self._client.flush(self.name)
        self._wait_until_built()
        with asking(self.address):
            self._client.load_collection(self.name, timeout=LOADING_S)
            loaded = self._client.list_loaded_segments(self.name)
        self._sealed = True
        held, expected = self.count(), self._stats.vectors - self._stats.removed
        if held != expected:
            raise self._wrong(f"holds {quantity(held, 'vector')}, where {expected} should be")
        small = [part for part in loaded if not part.index_id and part.num_rows >= LEAST_INDEXED]
        if small:
            raise self._wrong("has not been indexed as a whole")
        return sum(part.num_rows for part in loaded if part.index_id)

    def _wait_until_built(self) -> None:
        """Return once the server says so, and raise IndexUnavailable if it says something else."""
        done, since = -1, time.monotonic()
        while True:
            with asking(self.address):
                told = self._client.describe_index(self.name, VECTOR, timeout=ANSWER_S)
            state, indexed = told["state"], told["indexed_rows"]
            if state == "Finished" and not told["pending_index_rows"]:
                return
            if indexed != done:
                done, since = indexed, time.monotonic()
            if state == "Failed" or time.monotonic() - since > STALLED_S:
                raise self._wrong(
                    f"cannot be indexed: {state.lower()} at {quantity(indexed, 'vector')}"
                )
            time.sleep(LOOK_S)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not self._sealed:
            self.seal()
        distances = np.full((len(queries), k), np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        with asking(self.address):
            found = self._client.search(
                self.name,
                np.ascontiguousarray(queries, np.float32),
                anns_field=VECTOR,
                limit=k,
                search_params={"metric_type": "L2", "params": {"nprobe": self.effort}},
                consistency_level=self._consistency,
                timeout=ANSWER_S,
            )
            for row, hits in enumerate(found):
                distances[row, : len(hits)] = hits.distances
                ids[row, : len(hits)] = hits.ids
        return distances, ids

    def count(self) -> int:
        """How many vectors can be found. Raises IndexUnavailable."""
        with asking(self.address):
            told = self._client.query(
                self.name,
                output_fields=["count(*)"],
                consistency_level=self._consistency,
                timeout=ANSWER_S,
            )
            return int(told[0]["count(*)"])

    @property
    def _consistency(self) -> str:
        """To wait for the newest changes costs half a second, and a finished one has none."""
        return "Strong" if self._changed else "Eventually"

    def save(self, path: Path) -> None:
        """Write down where everything is; the vectors stay with the server. Raises OSError."""
        where = {"address": self.address, "name": self.name, "dim": self._stats.dim}
        path.write_text(json.dumps(where))

    @classmethod
    def load(cls, path: Path, parameters: IndexParameters) -> Self:
        """Open what a file of `save` names. Raises OSError, ValueError, IndexUnavailable."""
        where = json.loads(path.read_text())
        index = cls(where["address"], where["name"], where["dim"])
        index._open()
        index.effort = parameters.effort
        return index

    @classmethod
    def of(cls, collection: Collection, count: int, dim: int) -> Self:
        """Open the collection of a generation.

        Args:
            collection: Of its manifest.
            count: How many vectors it must hold.
            dim: How many components each of them must have.

        Raises:
            IndexUnavailable: It is not there, or not that of this generation.
        """
        index = cls(collection.address, collection.name, dim)
        index._open(collection.description)
        if index._stats.vectors != count:
            vectors = quantity(index._stats.vectors, "vector")
            raise index._wrong(f"holds {vectors}, the store {quantity(count, 'photo')}")
        return index

    def _open(self, description: str | None = None) -> None:
        """Load the collection, and learn what it holds. It must have the description, if given."""
        with asking(self.address):
            if not self._client.has_collection(self.name, timeout=ANSWER_S):
                raise self._wrong("is gone")
            told = self._client.describe_collection(self.name, timeout=ANSWER_S)
            if description not in (None, told["description"]):
                raise self._wrong("is of another generation of the store")
            self._client.load_collection(self.name, timeout=LOADING_S)
        self._learn_form()
        self._count(self.count(), 0)

    def _learn_form(self) -> None:
        """Ask how the collection is indexed."""
        with asking(self.address):
            told = self._client.describe_index(self.name, VECTOR, timeout=ANSWER_S)
        if told is None or told["index_type"] != FORM:
            raise self._wrong(f"has no {FORM} index")
        lists, codes, bits = (int(told[name]) for name in ("nlist", "m", "nbits"))
        self._stats = dataclasses.replace(
            self._stats, lists=lists, code_bytes=-(-codes * bits // 8)
        )
        self.effort = min(NPROBE, lists)

    def stats(self) -> IndexStats:
        """What is in it, as far as this object knows. It takes no memory of this process."""
        return self._stats

    def _count(self, added: int, removed: int) -> None:
        now = self._stats
        self._stats = dataclasses.replace(
            now, vectors=now.vectors + added, removed=now.removed + removed
        )

    def _wrong(self, what: str) -> IndexUnavailable:
        return IndexUnavailable(
            f"The collection {self.name} at {self.address} {what}. Push the store again."
        )


def rows_in_a_message(dim: int) -> int:
    """How many vectors are sent at a time."""
    return max(1, INSERT_BYTES // (4 * dim))


def connect(address: str) -> Any:
    """A client of a server. Raises IndexUnavailable."""
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise IndexUnavailable(
            f"The index is in the Milvus server at {address}, and its client is not installed: "
            "pip install -r requirements-milvus.txt"
        ) from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it tells of errors that it raises
    with asking(address):
        return MilvusClient(uri=address, token=os.environ.get(TOKEN, ""), timeout=ANSWER_S)


@contextmanager
def asking(address: str) -> Iterator[None]:
    """Let whatever a server or the way to it refuses be an IndexUnavailable."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        said = getattr(error, "message", "") or str(error)
        raise IndexUnavailable(
            f"The Milvus server at {address} does not answer, or refuses "
            f"({said.splitlines()[0][:200]})."
        ) from error
