"""Descriptors of two photos -> which point of one is which point of the other.

The ratio test (Lowe 2004) on RootSIFT bytes. All inner products of two photos are one product of
byte matrices, exact in 32-bit integers whatever the processor, which onnxruntime runs on the
processor's byte instructions (MatMulInteger). That is several times faster than float32 products,
and it keeps to the thread it is called from: the product of two small matrices by a multi-threaded
BLAS spends its time waiting for the other thread as soon as other work wants the cores.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from extractor.sift import DESCRIPTOR_SCALE
from extractor.untracked import ort

RATIO = 0.9  # loose on purpose: the geometry is the judge
# Of a cosine: two that are both nearer are equally near, as windows of a drawn or a modern facade
# are.
NOISE = 0.025

PRODUCTS_MODEL = Path(__file__).with_name("inner_products.onnx")  # made by `export.inner_products`


def match(query: np.ndarray, hit: np.ndarray, ratio: float = RATIO) -> np.ndarray:
    """One-to-one matches of two photos' keypoints.

    Two points match if each is the other's nearest and, seen from one of them at least, nearer than
    `ratio` times the second nearest. So `match(b, a)` are the pairs of `match(a, b)`, ties aside.
    The cosine is the inner product over DESCRIPTOR_SCALE squared: bytes keep the norms of RootSIFT
    to half a percent.

    Args:
        query, hit: RootSIFT descriptors as bytes, uint8 (n, 128) and (k, 128).
        ratio: of the distances to the nearest and to the second nearest, 0 to 1.

    Returns:
        Rows of both, int (m, 2), most distinctive first.
    """
    if len(query) < 2 or len(hit) < 2:
        return np.empty((0, 2), np.int64)
    products = inner_products(query, hit)
    nearest = products.argmax(1)
    best = products[np.arange(len(query)), nearest]
    mutual = np.flatnonzero(best == products.max(0)[nearest])
    _, first = np.unique(nearest[mutual], return_index=True)  # equally near rows: one of them
    rows = mutual[np.sort(first)]
    columns, best = nearest[rows], best[rows]
    products[rows, columns] = -1
    second = np.minimum(products[rows].max(1), products.max(0)[columns])
    # Squared distances of unit vectors are 2 - 2 cos.
    near, far = (np.maximum(1 - x / DESCRIPTOR_SCALE**2, NOISE) for x in (best, second))
    quotient = np.sqrt(near / far)
    order = np.argsort(quotient, kind="stable")
    order = order[quotient[order] < ratio]
    return np.stack([rows[order], columns[order]], axis=1)


def inner_products(query: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """The product of two byte matrices.

    Args:
        query, hit: uint8 (n, d) and (k, d).

    Returns:
        query @ hit.T, int32 (n, k).
    """
    return _session().run(None, {"query": query, "hit": hit})[0]


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        PRODUCTS_MODEL.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
