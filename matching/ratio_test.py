"""Ratio test (Lowe 2004): match the keypoints of two photos by their RootSIFT bytes.

All inner products of two photos are one product of byte matrices, which onnxruntime computes with
the processor's byte instructions (MatMulInteger), exactly, in 32-bit integers. That is several
times faster than a float32 product. It also stays on the calling thread: a multi-threaded BLAS that
multiplies two small matrices mostly waits for its other thread if other work needs the cores.

The product is computed one block of rows at a time, and searched while it is still in the core's
cache.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import numpy as np

from extractor.descriptor.untracked import ort
from extractor.keypoints.sift import DESCRIPTOR_SCALE

RATIO = 0.9  # loose on purpose: geometric verification rejects wrong matches
# Minimum of 1 - cosine in the ratio: neighbours nearer than this count as equally near, so that the
# equal windows of a drawn or modern facade remain ambiguous.
NOISE = 0.025

BLOCK = 256  # rows of the product that are computed at a time
SCRATCH = 2000 * 2000  # elements of the buffer that each thread keeps for products
# Written by `export.matching.inner_products`. The second model takes the hit's bytes as signed.
PRODUCTS_MODEL = Path(__file__).with_name("inner_products.onnx")
SIGNED_MODEL = Path(__file__).with_name("inner_products_signed.onnx")

_thread = threading.local()


def match(query: np.ndarray, hit: np.ndarray, ratio: float = RATIO) -> np.ndarray:
    """One-to-one matches of two photos' keypoints.

    Two points match if each is the other's nearest and, for at least one of them, nearer than
    `ratio` times the second nearest. So `match(b, a)` returns the pairs of `match(a, b)`, up to
    ties. The cosine is the inner product divided by DESCRIPTOR_SCALE squared; bytes preserve the
    norms of RootSIFT to half a percent.

    Args:
        query, hit: RootSIFT descriptors as bytes, uint8 (n, 128) and (k, 128).
        ratio: maximum ratio of the distances to the nearest and second nearest, 0 to 1.

    Returns:
        Row indices into both, int (m, 2), most distinctive first.
    """
    if len(query) < 2 or len(hit) < 2:
        return np.empty((0, 2), np.int64)
    products = scratch(len(query), len(hit))
    nearest = np.empty(len(query), np.int64)
    highest = np.empty((-(-len(query) // BLOCK), len(hit)), np.int32)  # column maxima per block
    for block in range(len(highest)):
        rows = slice(block * BLOCK, (block + 1) * BLOCK)
        inner_products(query[rows], hit, products[rows])
        nearest[rows] = products[rows].argmax(1)
        highest[block] = products[rows].max(0)
    best = products[np.arange(len(query)), nearest]
    mutual = np.flatnonzero(best == highest.max(0)[nearest])
    _, first = np.unique(nearest[mutual], return_index=True)  # of equally near rows, keep one
    rows = mutual[np.sort(first)]
    columns, best = nearest[rows], best[rows]
    products[rows, columns] = -1
    for block in np.unique(rows // BLOCK):
        block_columns = columns[rows // BLOCK == block]
        highest[block, block_columns] = products[
            block * BLOCK : (block + 1) * BLOCK, block_columns
        ].max(0)
    second = np.minimum(products[rows].max(1), highest[:, columns].max(0))
    # Squared distances of unit vectors are 2 - 2 cos.
    nearest_distance, second_distance = (
        np.maximum(1 - x / DESCRIPTOR_SCALE**2, NOISE) for x in (best, second)
    )
    quotient = np.sqrt(nearest_distance / second_distance)
    order = np.argsort(quotient, kind="stable")
    order = order[quotient[order] < ratio]
    return np.stack([rows[order], columns[order]], axis=1)


def scratch(n: int, k: int) -> np.ndarray:
    """Buffer for a product, int32 (n, k), which the thread reuses: allocating memory costs time."""
    if n * k > SCRATCH:
        return np.empty((n, k), np.int32)
    if not hasattr(_thread, "scratch"):
        _thread.scratch = np.empty(SCRATCH, np.int32)
    return _thread.scratch[: n * k].reshape(n, k)


def inner_products(query: np.ndarray, hit: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The product of two byte matrices.

    Args:
        query, hit: uint8 (n, d) and (k, d), contiguous.
        out: int32 (n, k), contiguous; receives query @ hit.T.

    Returns:
        `out`.
    """
    multiply(*fastest_session(), query, hit, out)
    return out


def multiply(
    session: ort.InferenceSession, signed: bool, query: np.ndarray, hit: np.ndarray, out: np.ndarray
) -> None:
    """See `inner_products`. signed: whether the session takes the hit's bytes as signed."""
    binding = session.io_binding()
    binding.bind_cpu_input("query", query)
    binding.bind_cpu_input("hit", (hit ^ 128).view(np.int8) if signed else hit)
    binding.bind_output("products", "cpu", 0, np.int32, out.shape, out.ctypes.data)
    session.run_with_iobinding(binding)


@cache
def fastest_session() -> tuple[ort.InferenceSession, bool]:
    """The fastest session that is exact on this processor, and whether it takes signed bytes.

    Signed bytes are more than twice as fast on processors with instructions for them (VNNI). On
    other processors onnxruntime adds pairs of products in saturating 16 bits, which is not exact.
    """
    signed = open_session(SIGNED_MODEL)
    query = np.full((BLOCK, 128), 255, np.uint8)
    for value in (0, 255):
        found = np.empty((BLOCK, BLOCK), np.int32)
        multiply(signed, True, query, np.full_like(query, value), found)
        if (found != 128 * 255 * value).any():
            return open_session(PRODUCTS_MODEL), False
    return signed, True


def open_session(path: Path) -> ort.InferenceSession:
    """Load a model into a session that runs on the calling thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
