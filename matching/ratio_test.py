"""Descriptors of two photos -> pairs of matching keypoints.

The ratio test (Lowe 2004) on RootSIFT bytes. All inner products of two photos are one product of
byte matrices, exact in 32-bit integers on any processor, which onnxruntime computes with the
processor's byte instructions (MatMulInteger). That is several times faster than float32 products,
and it stays on the calling thread: a multi-threaded BLAS multiplying two small matrices spends its
time waiting for the other thread as soon as other work needs the cores.

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

RATIO = 0.9  # loose on purpose: the geometry decides
# Of a cosine: two neighbours that are both nearer count as equally near, like the windows of a
# drawn or a modern facade.
NOISE = 0.025

BLOCK = 256  # rows of the product computed at a time
SCRATCH = 2000 * 2000  # elements of the buffer that each thread keeps for products
# Written by `export.matching.inner_products`. The second one takes the hit's bytes as signed.
PRODUCTS_MODEL = Path(__file__).with_name("inner_products.onnx")
SIGNED_MODEL = Path(__file__).with_name("inner_products_signed.onnx")

_own = threading.local()


def match(query: np.ndarray, hit: np.ndarray, ratio: float = RATIO) -> np.ndarray:
    """One-to-one matches of two photos' keypoints.

    Two points match if each is the other's nearest and, for at least one of them, nearer than
    `ratio` times the second nearest. So `match(b, a)` are the pairs of `match(a, b)`, up to ties.
    The cosine is the inner product over DESCRIPTOR_SCALE squared: bytes preserve the norms of
    RootSIFT to half a percent.
    to half a percent.

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
    """Buffer for a product, int32 (n, k), reused by this thread: new memory costs time."""
    if n * k > SCRATCH:
        return np.empty((n, k), np.int32)
    if not hasattr(_own, "scratch"):
        _own.scratch = np.empty(SCRATCH, np.int32)
    return _own.scratch[: n * k].reshape(n, k)


def inner_products(query: np.ndarray, hit: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The product of two byte matrices.

    Args:
        query, hit: uint8 (n, d) and (k, d), contiguous.
        out: int32 (n, k), contiguous; receives query @ hit.T.

    Returns:
        `out`.
    """
    multiply(*fastest(), query, hit, out)
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
def fastest() -> tuple[ort.InferenceSession, bool]:
    """A session for `multiply`, and whether it is the signed one.

    Signed bytes are more than twice as fast on processors with instructions for them (VNNI). On
    others, onnxruntime adds pairs of products in 16 bits, which saturates.
    """
    signed = opened(SIGNED_MODEL)
    query = np.full((BLOCK, 128), 255, np.uint8)
    for value in (0, 255):
        found = np.empty((BLOCK, BLOCK), np.int32)
        multiply(signed, True, query, np.full_like(query, value), found)
        if (found != 128 * 255 * value).any():
            return opened(PRODUCTS_MODEL), False
    return signed, True


def opened(path: Path) -> ort.InferenceSession:
    """A session that runs on the calling thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
