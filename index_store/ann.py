"""Approximate nearest neighbours: an inverted file with product-quantised vectors, from faiss.

IVF-PQ, Jegou et al. 2011. The index only proposes candidates; the engine rescores it with the
stored descriptors. Vectors have unit norm, so the index works with Euclidean distance, where
product quantisation recalls better than under the inner product (faiss issues 1522, 2971), and the
order is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import faiss
import numpy as np

POINTS_PER_CENTROID = 39  # faiss warns below; fewer make centroids that describe nothing
MAX_LISTS = 65536
MAX_BITS = 8
CODE_DIM = 8  # descriptor components per code
PROBES = 32
SEED = 1234
# Limits for reading a file, so that a damaged one cannot ask for all the memory.
MAX_VECTOR_BYTES = 64 * 2**30


class Searchable(Protocol):
    """What is asked of an index: how many vectors it holds, and a search as faiss does it."""

    ntotal: int

    def search(self, descriptors: np.ndarray, k: int, /) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class AnnParameters:
    """How an IVF-PQ index is built and searched.

    Attributes:
        nlist: Inverted lists.
        codes: Sub-quantisers of a vector.
        bits: Of each code, which so has 2**bits centroids.
        nprobe: Lists that a query visits.
    """

    nlist: int
    codes: int
    bits: int
    nprobe: int

    @property
    def factory(self) -> str:
        """faiss' index factory string."""
        return f"IVF{self.nlist},PQ{self.codes}x{self.bits}np"


def choose_parameters(count: int, dim: int) -> AnnParameters:
    """Parameters for a gallery, never more lists or centroids than it can train.

    Lists: the largest power of two up to 4 sqrt(count) that leaves POINTS_PER_CENTROID vectors for
    each. Bits: the most, up to 8, whose 2**bits centroids get as many. Codes: one for CODE_DIM
    components (or the nearest divisor below).

    Args:
        count: How many vectors.
        dim: How many components each of them has.
    """
    trainable = max(1, count // POINTS_PER_CENTROID)
    nlist = 2 ** int(np.log2(max(1, min(trainable, 4 * np.sqrt(count), MAX_LISTS))))
    bits = int(np.clip(np.log2(trainable), 1, MAX_BITS))
    codes = max(m for m in range(1, max(1, dim // CODE_DIM) + 1) if dim % m == 0)
    return AnnParameters(nlist, codes, bits, nprobe=min(nlist, PROBES))


def build_index(
    descriptors: np.ndarray, parameters: AnnParameters, batch: int = 65536
) -> faiss.IndexIVFPQ:
    """Train on a sample and add all descriptors.

    Args:
        descriptors: float16 or float32 (N, D), unit rows.
        parameters: Of `choose_parameters`.
        batch: How many are added at a time.
    """
    count, dim = descriptors.shape
    index = cast(faiss.IndexIVFPQ, faiss.index_factory(dim, parameters.factory, faiss.METRIC_L2))
    index.cp.seed = index.pq.cp.seed = SEED
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid = 1  # the choice of parameters has seen to it
    wanted = 256 * max(parameters.nlist, 2**parameters.bits)  # faiss would not use more
    sample = np.random.default_rng(SEED).permutation(count)[:wanted]
    train = np.ascontiguousarray(descriptors[np.sort(sample)], np.float32)
    # A gallery of fewer photos than centroids still has to train: repeat them.
    index.train(np.resize(train, (max(len(train), parameters.nlist, 2**parameters.bits), dim)))
    for start in range(0, count, batch):
        index.add(np.ascontiguousarray(descriptors[start : start + batch], np.float32))
    index.nprobe = parameters.nprobe
    return index


def save_index(index: faiss.Index, path: Path) -> None:
    """Write an index. Raises OSError (faiss itself may leave half a file without a word)."""
    with open(path, "wb") as file:
        file.write(faiss.serialize_index(index).data)


def load_index(path: Path, parameters: AnnParameters, count: int, dim: int) -> faiss.IndexIVFPQ:
    """Read an index whose checksum was verified.

    Args:
        path: A file of `save_index`.
        parameters: What it was built with.
        count: How many vectors it must hold.
        dim: How many components each of them must have.

    Raises:
        ValueError: It is not the index described.
        RuntimeError: faiss cannot read it.
    """
    faiss.set_deserialization_vector_byte_limit(MAX_VECTOR_BYTES)
    # Not faiss.read_index, which takes no path that is not valid Unicode.
    index = cast(faiss.IndexIVFPQ, faiss.deserialize_index(np.fromfile(path, np.uint8)))
    expected = (count, dim, parameters.nlist)
    found = (index.ntotal, index.d, getattr(index, "nlist", None))
    if found != expected:
        raise ValueError(f"index holds (vectors, dimensions, lists) = {found}, expected {expected}")
    index.nprobe = parameters.nprobe
    return index


def candidate_ids(index: Searchable, descriptor: np.ndarray, size: int) -> np.ndarray:
    """Probable neighbours of one descriptor, in the order of their rough distance.

    Args:
        index: Of `load_index`.
        descriptor: float32 (D,), unit norm.
        size: How many are wanted.

    Returns:
        Row numbers int64, at most `size`.
    """
    _, ids = index.search(
        np.ascontiguousarray(descriptor[None], np.float32), min(size, index.ntotal)
    )
    return ids[0][ids[0] >= 0]


def exact_knn(descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours of all photos among one another, by inner product.

    Args:
        descriptors: float16 or float32 (N, D).
        k: How many for each; at most N.

    Returns:
        Ids int32 (N, k), and similarities float32 (N, k), best first.
    """
    flat = np.ascontiguousarray(descriptors, np.float32)
    sims, ids = faiss.knn(flat, flat, k, metric=faiss.METRIC_INNER_PRODUCT)
    return ids.astype(np.int32), sims
