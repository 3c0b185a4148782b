"""Near-duplicates: photos that are one picture, saved anew, resized or slightly changed.

Photos of one thing have similar descriptors, too. So the descriptors only propose pairs, and the
pictures decide: thumbnails shrunk to a few pixels must agree.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .store import Store

SIMILARITY = 0.9  # of descriptors, from which on two pictures are compared
AGREEMENT = 0.95  # correlation of two pictures, from which on they are one
SIDE = 16  # pixels of a picture's side when it is compared


def duplicates(store: Store) -> list[list[int]]:
    """Groups of photos that are one picture.

    Args:
        store: Its neighbour lists are exact, and each names 50 photos. More copies than that hang
            together through one another.

    Returns:
        Ids of each group. The largest picture of a group comes first, the largest group too.
    """
    pairs = proposed(store.lists, store.list_sims)
    pairs = pairs[np.isin(pairs, store.served_ids).all(1)]
    ids = np.unique(pairs)
    pictures = dict(zip(ids.tolist(), (picture(store.thumbnail(id)) for id in ids.tolist())))
    photos = store.catalogue.photos_of(ids)
    contents = dict(zip(ids.tolist(), (photo.sha256 for photo in photos)))
    area = dict(zip(ids.tolist(), (photo.width * photo.height for photo in photos)))
    agreeing = [
        (a, b)
        for a, b in pairs.tolist()
        if contents[a] == contents[b] or float(pictures[a] @ pictures[b]) >= AGREEMENT
    ]
    if not agreeing:
        return []
    rows, columns = np.searchsorted(ids, np.array(agreeing)).T
    graph = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    members = np.split(ids[np.argsort(labels, kind="stable")], np.cumsum(np.bincount(labels))[:-1])
    groups = [
        sorted(group.tolist(), key=lambda id: (-area[id], id))
        for group in members
        if len(group) > 1
    ]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def proposed(lists: np.ndarray, sims: np.ndarray) -> np.ndarray:
    """Pairs of photos with similar descriptors.

    Args:
        lists: Of `self_first`, int32 (N, k).
        sims: Their similarities, (N, k).

    Returns:
        int64 (n, 2), the smaller id first, each pair once.
    """
    rows, slots = np.nonzero(np.asarray(sims)[:, 1:] >= SIMILARITY)
    columns = np.asarray(lists)[:, 1:][rows, slots].astype(np.int64)
    pairs = np.stack([np.minimum(rows, columns), np.maximum(rows, columns)], 1)
    return np.unique(pairs[columns >= 0], axis=0)


def picture(jpeg: bytes) -> np.ndarray:
    """A thumbnail's greys, shrunk, without mean and at unit length: float32 (SIDE ** 2,)."""
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if grey is None:
        return np.zeros(SIDE * SIDE, np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
