"""Vector index in a Milvus server, for galleries that outgrow one machine.

The server encodes vectors as IVF-PQ (Jegou et al. 2011), with separate lists for each segment. It
does not index small segments, and compares their vectors exactly.

pymilvus, the client library, is imported when the first index is opened; it is in
requirements-milvus.txt. Nothing else in the project needs it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from index_store.errors import IndexUnavailable
from plurals import quantity

from ..faiss_index import IndexStats
from ..presets import CODE_DIM, NPROBE, most_bits, most_codes, most_lists
from .collection import TOKEN, Collection, are_of

KEY, VECTOR = "id", "descriptor"  # fields of a collection
FORM = "IVF_PQ"
SEGMENT_BYTES = 512 * 2**20  # of vectors in a full segment, by the server's default
MIN_INDEXED = 1024  # vectors; servers do not index smaller segments
INSERT_BYTES = 8 * 2**20  # of vectors per message
ANSWER_S = 10.0  # timeout for a search, a status request, and for connecting
LOADING_S = 600.0  # timeout for loading a collection into the server's memory
STALLED_S = 3600.0  # timeout for indexing without progress
POLL_SECONDS = 0.2


class MilvusIndex:
    """A collection of a Milvus server. Searching is thread-safe; changing it is not.

    Attributes:
        address: URL of the server.
        name: name of the collection.
        effort: lists of each segment that a search visits (nprobe).
    """

    def __init__(self, address: str, name: str, dim: int):
        """Connect to a server; the collection need not exist.

        Args:
            address: see `Collection`.
            name: name of the collection.
            dim: components per vector.

        Raises:
            IndexUnavailable: the server does not answer, or its client is not installed.
        """
        self.address, self.name, self.effort = address, name, NPROBE
        self._client = connect(address)
        # "Strong" waits half a second for the latest changes: only after changes of this object.
        self._consistency = "Eventually"
        self._stats = IndexStats(vectors=0, removed=0, dim=dim, bytes=0)

    def create(self, description: str) -> None:
        """Create the collection; an existing one of this name is dropped.

        Raises IndexUnavailable.
        """
        from pymilvus import DataType

        self.drop()
        with translated_errors(self.address):
            schema = self._client.create_schema(auto_id=False, description=description)
            schema.add_field(KEY, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self._stats.dim)
            self._client.create_collection(self.name, schema=schema)

    def drop(self) -> None:
        """Delete the collection if it exists. Raises IndexUnavailable."""
        with translated_errors(self.address):
            if self._client.has_collection(self.name, timeout=ANSWER_S):
                self._client.drop_collection(self.name)

    def drop_others(self, family: str, names_to_keep: set[str]) -> list[str]:
        """Delete a store's collections, except some. Raises IndexUnavailable.

        Returns:
            Names of the deleted collections.
        """
        with translated_errors(self.address):
            collections = self._client.list_collections(timeout=ANSWER_S)
            obsolete = [name for name in are_of(family, collections) if name not in names_to_keep]
            for name in obsolete:
                self._client.drop_collection(name)
        return obsolete

    def train(self, rows: np.ndarray) -> None:
        """Create the index definition. The server learns lists and codes itself, per segment."""
        dim = self._stats.dim
        whole = min(len(rows), SEGMENT_BYTES // (4 * dim))
        params = {
            "nlist": most_lists(whole),
            "m": most_codes(dim, CODE_DIM),
            "nbits": most_bits(whole),
        }
        with translated_errors(self.address):
            index_parameters = self._client.prepare_index_params()
            index_parameters.add_index(
                VECTOR, index_type=FORM, index_name=VECTOR, metric_type="L2", **params
            )
            self._client.create_index(self.name, index_parameters)
        self._learn_form()

    def add(self, rows: np.ndarray) -> None:
        """Send vectors (N, D); ids continue after the last one. Call `seal` after the last."""
        dim, first = self._stats.dim, self._stats.vectors
        size = rows_in_a_message(dim)
        for start in range(0, len(rows), size):
            block = np.ascontiguousarray(rows[start : start + size], np.float32)
            with translated_errors(self.address):
                self._client.insert(
                    self.name,
                    [{KEY: first + start + i, VECTOR: row} for i, row in enumerate(block)],
                )
        self._stats = dataclasses.replace(self._stats, vectors=first + len(rows))
        self._consistency = "Strong"

    def seal(self) -> int:
        """Make the server index the added vectors and load them. Raises IndexUnavailable.

        Returns:
            Number of vectors in IVF-PQ codes: all but those of small segments.
        """
        with translated_errors(self.address):
            self._client.flush(self.name)
        self._wait_until_built()
        with translated_errors(self.address):
            self._client.load_collection(self.name, timeout=LOADING_S)
            loaded = self._client.list_loaded_segments(self.name)
        held, expected = self.count(), self._stats.vectors
        if held != expected:
            raise self._wrong(f"holds {quantity(held, 'vector')}, where {expected} should be")
        small = [part for part in loaded if not part.index_id and part.num_rows >= MIN_INDEXED]
        if small:
            raise self._wrong("has not been indexed as a whole")
        return sum(part.num_rows for part in loaded if part.index_id)

    def _wait_until_built(self) -> None:
        """Wait until indexing has finished. Raises IndexUnavailable if it fails or stalls."""
        done, since = -1, time.monotonic()
        while True:
            with translated_errors(self.address):
                description = self._client.describe_index(self.name, VECTOR, timeout=ANSWER_S)
            state, indexed = description["state"], description["indexed_rows"]
            if state == "Finished" and not description["pending_index_rows"]:
                return
            if indexed != done:
                done, since = indexed, time.monotonic()
            if state == "Failed" or time.monotonic() - since > STALLED_S:
                raise self._wrong(
                    f"cannot be indexed: {state.lower()} at {quantity(indexed, 'vector')}"
                )
            time.sleep(POLL_SECONDS)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `VectorIndex.search`."""
        distances = np.full((len(queries), k), np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        with translated_errors(self.address):
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
        """Number of vectors that can be found. Raises IndexUnavailable."""
        with translated_errors(self.address):
            rows = self._client.query(
                self.name,
                output_fields=["count(*)"],
                consistency_level=self._consistency,
                timeout=ANSWER_S,
            )
            return int(rows[0]["count(*)"])

    @classmethod
    def of(cls, collection: Collection, count: int, dim: int) -> Self:
        """Open the collection of a generation.

        Args:
            collection: the collection in the generation's manifest.
            count: number of vectors it must hold.
            dim: components per vector that it must have.

        Raises:
            IndexUnavailable: it does not exist, or belongs to another generation.
        """
        index = cls(collection.address, collection.name, dim)
        index._open(collection.description)
        if index._stats.vectors != count:
            vectors = quantity(index._stats.vectors, "vector")
            raise index._wrong(f"holds {vectors}, the store {quantity(count, 'photo')}")
        return index

    def _open(self, description: str) -> None:
        """Load the collection, which must have this description, and count its vectors."""
        with translated_errors(self.address):
            if not self._client.has_collection(self.name, timeout=ANSWER_S):
                raise self._wrong("is gone")
            facts = self._client.describe_collection(self.name, timeout=ANSWER_S)
            if facts["description"] != description:
                raise self._wrong("is of another generation of the store")
            self._client.load_collection(self.name, timeout=LOADING_S)
        self._learn_form()
        self._stats = dataclasses.replace(self._stats, vectors=self.count())

    def _learn_form(self) -> None:
        """Read the parameters of the collection's index."""
        with translated_errors(self.address):
            description = self._client.describe_index(self.name, VECTOR, timeout=ANSWER_S)
        if description is None or description["index_type"] != FORM:
            raise self._wrong(f"has no {FORM} index")
        lists, codes, bits = (int(description[name]) for name in ("nlist", "m", "nbits"))
        self._stats = dataclasses.replace(
            self._stats, lists=lists, code_bytes=-(-codes * bits // 8)
        )
        self.effort = min(NPROBE, lists)

    def stats(self) -> IndexStats:
        """Statistics as far as this object knows them. It uses no memory of this process."""
        return self._stats

    def _wrong(self, what: str) -> IndexUnavailable:
        return IndexUnavailable(
            f"The collection {self.name} at {self.address} {what}. Push the store again."
        )


def rows_in_a_message(dim: int) -> int:
    """Number of vectors per message."""
    return max(1, INSERT_BYTES // (4 * dim))


def connect(address: str) -> Any:
    """A client of the server. Raises IndexUnavailable."""
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise IndexUnavailable(
            f"The index is in the Milvus server at {address}, and its client is not installed: "
            "pip install -r requirements-milvus.txt"
        ) from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs errors that it also raises
    with translated_errors(address):
        return MilvusClient(uri=address, token=os.environ.get(TOKEN, ""), timeout=ANSWER_S)


@contextmanager
def translated_errors(address: str) -> Iterator[None]:
    """Convert errors of the server or the connection to IndexUnavailable."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        message = getattr(error, "message", "") or str(error)
        raise IndexUnavailable(
            f"The Milvus server at {address} does not answer, or refuses "
            f"({message.splitlines()[0][:200]})."
        ) from error
