"""Duplicates: photos that are the same picture, re-encoded or resized.

Photos of the same thing have similar descriptors, too. So descriptors only propose pairs, and
comparing the pictures decides, see `one_picture`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np

from extractor import BadPhoto

from ..errors import StoreCorrupt
from ..global_artifacts import Progress, silent
from ..store import Store
from .one_picture import LAYOUT_SIDE, Picture, one_picture, picture, same_layout

# Cosine from which pairs of photos are compared. With EfficientNet-Lite2 this finds 129 of 139
# copies of the sample gallery, 0.9 finds 104: small copies have other descriptors.
SIMILARITY = 0.8
CACHED = 128  # decoded thumbnails, up to 230 KB each
CACHED_ORIGINALS = 16  # up to 1 MB each
CHUNK = 4096  # rows or pairs that are processed at a time


def duplicates(
    store: Store, progress: Progress = silent, originals: bool = False
) -> list[list[int]]:
    """Groups of photos that are the same picture.

    Each photo of a group is the same picture as the group's largest. Photos with unreadable
    thumbnails are in no group. Uses 768 bytes for each photo with a similar neighbour, plus its
    pairs.

    Args:
        store: the store. Its neighbour lists are exact, with 50 photos each; larger groups are
            found through common neighbours.
        progress: see `build`.
        originals: whether pairs whose thumbnails agree are compared again as the indexed files,
            shrunk to at most 1024 pixels a side, if both files still exist. That distinguishes
            documents that differ in a few small letters.

    Returns:
        Ids of each group, its largest picture first; largest groups first.
    """
    slots = store.rows.slots  # photos with equal content share a slot
    pairs = np.concatenate([proposed(store.lists, store.list_sims), equal_pairs(slots)])
    pairs = pairs[np.isin(pairs, store.served_ids).all(1)]
    ids = np.unique(pairs)
    layouts = np.zeros((len(ids), 3, LAYOUT_SIDE**2), np.uint8)
    readable = np.zeros(len(ids), bool)
    for row, id in enumerate(progress(ids.tolist(), len(ids), "layouts")):
        if (thumbnail := thumbnail_picture(store, id)) is not None:
            layouts[row], readable[row] = thumbnail.layout, True
    pairs = pairs[same_pictures(np.searchsorted(ids, pairs), layouts, readable)]

    @lru_cache(CACHED_ORIGINALS)
    def original(id: int) -> Picture | None:
        try:
            return picture(store.pixels(id))
        except (OSError, BadPhoto):
            return None

    def same(first: int, second: int) -> bool:
        if slots[first] == slots[second]:
            return True
        if not same_thumbnail(store, first, second):
            return False
        if not originals:
            return True
        a, b = original(first), original(second)
        return a is None or b is None or one_picture(a, b)

    order = largest_first(store, np.unique(pairs))
    leaders = progress(order, len(order), "compare")
    groups = [g for g in grouped(order, neighbours(pairs), same, leaders) if len(g) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def proposed(lists: np.ndarray, sims: np.ndarray) -> np.ndarray:
    """Pairs of photos with similar descriptors.

    Args:
        lists: output of `self_first`, int32 (N, k).
        sims: their similarities, (N, k).

    Returns:
        int64 (n, 2), the smaller id first, each pair once.
    """
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(lists), CHUNK):
        chunk = slice(start, start + CHUNK)
        rows, slots = np.nonzero(np.asarray(sims[chunk])[:, 1:] >= SIMILARITY)
        columns = np.asarray(lists[chunk])[:, 1:][rows, slots].astype(np.int64)
        rows = rows + start
        pairs = np.stack([np.minimum(rows, columns), np.maximum(rows, columns)], 1)
        found.append(pairs[columns >= 0])
    return np.unique(np.concatenate(found), axis=0)


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """Chains of indices with equal values: int64 (n, 2), the smaller index first."""
    order = np.argsort(values, kind="stable")
    equal = np.flatnonzero(np.diff(values[order]) == 0)
    return np.stack([order[equal], order[equal + 1]], 1)


def same_pictures(rows: np.ndarray, layouts: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """Which pairs of rows, int (n, 2), have layouts that may be of the same picture: bool (n,)."""
    is_readable = readable[rows].all(1)
    for start in range(0, len(rows), CHUNK):
        first, second = rows[start : start + CHUNK].T
        is_readable[start : start + CHUNK] &= same_layout(layouts[first], layouts[second])
    return is_readable


def largest_first(store: Store, ids: np.ndarray) -> list[int]:
    """Ids by the size of the decoded photo, largest first; ties by id."""
    photos = store.catalogue.photos_of(ids)
    return [p.id for p in sorted(photos, key=lambda p: (-p.width * p.height, p.id))]


def neighbours(pairs: np.ndarray) -> Callable[[int], list[int]]:
    """A function from an id to the ids it is paired with. pairs: int (n, 2)."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    firsts, seconds = both[:, 0], both[:, 1]

    def candidates_of(id: int) -> list[int]:
        start, end = np.searchsorted(firsts, [id, id + 1])
        return seconds[start:end].tolist()

    return candidates_of


def grouped(
    order: Sequence[int],
    candidates_of: Callable[[int], Iterable[int]],
    same: Callable[[int, int], bool],
    leaders: Iterable[int] | None = None,
) -> Iterator[list[int]]:
    """Partition ids into groups whose first member, the leader, matches every other member.

    A group grows from member to member, so each id is compared at most once for each id that it is
    near to.

    Args:
        order: ids, in the order in which they become leaders.
        candidates_of: function that returns the ids that may be in a group with an id.
        same: whether a leader and another id match.
        leaders: iterable over `order`, such as a progress bar.

    Yields:
        Ids of a group, in the order of `order`; groups of one included.
    """
    position_of = {id: position for position, id in enumerate(order)}
    free = set(order)
    for leader in order if leaders is None else leaders:
        if leader not in free:
            continue
        free.remove(leader)
        group, compared, growing = [leader], set(), [leader]
        while growing:
            for id in candidates_of(growing.pop()):
                if id in free and id not in compared:
                    compared.add(id)
                    if same(leader, id):
                        free.remove(id)
                        group.append(id)
                        growing.append(id)
        yield sorted(group, key=position_of.__getitem__)


def same_thumbnail(store: Store, first: int, second: int) -> bool:
    """Whether two photos are the same picture by their thumbnails; False if one is damaged."""
    a, b = thumbnail_picture(store, first), thumbnail_picture(store, second)
    return a is not None and b is not None and one_picture(a, b)


def thumbnail_picture(store: Store, id: int) -> Picture | None:
    """A photo's thumbnail prepared for comparison; None if it is damaged."""
    try:
        return decoded(store.thumbnail(id))
    except StoreCorrupt:
        return None


@lru_cache(CACHED)
def decoded(jpeg: bytes) -> Picture | None:
    """A thumbnail prepared for comparison, or None if it is not a JPEG."""
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return None if pixels is None else picture(pixels)
