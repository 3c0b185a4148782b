"""Detection of marks: the same visual words at the same places in many photos of different things.

A spot is a word (a list of the keypoint index) in a cell of a grid. Over 310 photos of different
things no spot occurs in more than 5 of them, so MIN_BEARERS is out of reach of chance. The number
of photos that share a spot by chance grows with the gallery, and so does the minimum number of
photos.

Bursts, copies and many views of one thing have common spots, too. So the photos that share a spot
must be strangers by their descriptors, like random pairs of the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..ann.faiss_index import SEED
from .keypoint_index import CodedKeypoints
from .marks import (
    BEARER_WORDS,
    CELL,
    GRIDS,
    SHIFTS,
    UNITS,
    WORDS,
    Marks,
    anchor_of,
    count_words,
    from_anchor,
    keys,
    list_of,
    located,
    measures,
    place_marks,
    without_crowded,
)

MIN_BEARERS = 8  # minimum photos that bear a mark
SHARE = 0.01  # minimum share of the gallery that bears it
WORD_SHARE = 0.6  # share of them with a given word: in others its descriptor is in another list
LIFT = 10  # minimum ratio to the photos expected if the word's position were random
MIN_WORDS = 3  # minimum words per mark
BEARER_SHARE = 0.25  # minimum share of the median bearer's words: fewer may be chance
GROWTH = 0.2  # share of a mark's bearers with an adjacent spot that makes it part of the mark
MIN_GROWTH = 3  # minimum photos for that
REACH = 0.1  # how far a mark grows, share of the longest side
SAMPLE = 5  # photos per spot that are compared with each other
PAIRS = 5000  # random pairs that estimate the similarity of strangers
LARGEST = 0.1  # maximum area over the longest side squared: larger boxes are split
FILLED = 0.5  # minimum share of a box covered by spots and adjacent cells: others are split
MARGIN = 1 / 64  # of the longest side, around a mark: keypoints there are affected by it
BLOCK = 2**22  # keypoints sorted at a time
PHOTO_BITS = 31  # appended to a key, which has up to 32 bits
SPOTS = 512  # spots compared at a time


@dataclass(frozen=True)
class Spots:
    """Words that many strangers have at one place.

    Attributes:
        key: int64 (s,), see `keys`.
        grid: uint8 (s,), index of its grid.
        offset: float32 (s, 2), mean offset of the keypoints from their anchor.
    """

    key: np.ndarray
    grid: np.ndarray
    offset: np.ndarray

    @staticmethod
    def joined(parts: Sequence[Spots]) -> Spots:
        """The union of all spots."""
        key = np.concatenate([np.empty(0, np.int64), *(part.key for part in parts)])
        grid = np.concatenate([np.empty(0, np.uint8), *(part.grid for part in parts)])
        offset = np.concatenate([np.empty((0, 2), np.float32), *(part.offset for part in parts)])
        _, first = np.unique(key * GRIDS + grid, return_index=True)
        return Spots(key[first], grid[first], offset[first])


@dataclass(frozen=True)
class Gallery:
    """Data about all photos.

    Attributes:
        sizes: int (N, 2), height and width in pixels.
        descriptors: float16 or float32 (N, D), unit rows.
        limit: maximum similarity of strangers, see `unrelated_similarity`.
    """

    sizes: np.ndarray
    descriptors: np.ndarray
    limit: float


def find_marks(keypoints: CodedKeypoints, sizes: np.ndarray, descriptors: np.ndarray) -> Marks:
    """Find the marks of a gallery.

    Args:
        keypoints: keypoints of all photos.
        sizes: int (N, 2), height and width of the photos.
        descriptors: float16 or float32 (N, D), unit rows.
    """
    least = max(MIN_BEARERS, int(np.ceil(SHARE * len(sizes))))
    if len(sizes) < least:
        return Marks.none()
    gallery = Gallery(sizes, descriptors, unrelated_similarity(descriptors))
    words, remaining = np.empty(0, WORDS), keypoints
    for unit in range(UNITS):
        if unit and (measures(sizes, unit) == measures(sizes, 0)).all():
            break
        if len(words):
            placed = place_marks(words, keypoints, sizes)
            remaining = keypoints.where(~Marks(placed, words).covered(keypoints.entries))
        spots = find_spots(remaining, gallery, unit, int(np.ceil(WORD_SHARE * least)))
        new_words = words_of_marks(as_marks(spots), keypoints, sizes, least)
        if len(new_words):
            spots = Spots.joined([spots, *grow(new_words, remaining, gallery, unit)])
            new_words = words_of_marks(as_marks(spots), keypoints, sizes, least)
        new_words["mark"] += words["mark"].max(initial=-1) + 1
        words = np.concatenate([words, new_words])
    _, words["mark"] = np.unique(words["mark"], return_inverse=True)
    return Marks(without_crowded(place_marks(words, keypoints, sizes), keypoints.entries), words)


def find_spots(keypoints: CodedKeypoints, gallery: Gallery, unit: int, least: int) -> Spots:
    """Find words that strangers have at one place.

    Args:
        keypoints: keypoints to search.
        gallery: data about all photos.
        unit: unit of the places, below UNITS.
        least: minimum photos with the word at the place.
    """
    measure, found = measures(gallery.sizes, unit), []
    frequency = np.bincount(keypoints.lists, minlength=1)
    by_chance = frequency * CELL**2
    blocks = -(-len(keypoints.lists) // BLOCK)
    for block in range(blocks):
        lists = keypoints.lists
        some = np.flatnonzero((frequency[lists] >= least) & (lists % blocks == block))
        photos, points = located(keypoints.entries[some])
        anchors, offsets = from_anchor(points, measure[photos])
        for grid in range(unit * len(SHIFTS), (unit + 1) * len(SHIFTS)):
            own_keys = keys(lists[some], anchors, offsets, grid)
            pairs = np.unique(own_keys << PHOTO_BITS | photos)  # (key, photo)
            spots, starts, counts = np.unique(
                pairs >> PHOTO_BITS, return_index=True, return_counts=True
            )
            frequent = counts >= np.maximum(least, LIFT * by_chance[list_of(spots)])
            starts, counts = starts[frequent], counts[frequent]
            unrelated = are_unrelated(pairs & (1 << PHOTO_BITS) - 1, starts, counts, gallery)
            spots = spots[frequent][unrelated]
            if len(spots):
                mean_offsets = means(spots, own_keys, offsets)
                found.append(Spots(spots, np.full(len(spots), grid, np.uint8), mean_offsets))
    return Spots.joined(found)


def means(spots: np.ndarray, own_keys: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mean offsets of the keypoints in each spot, float32 (s, 2).

    Args:
        spots: keys int64 (s,), ascending.
        own_keys: keys of keypoints, int64 (m,).
        offsets: offsets of keypoints, float32 (m, 2).
    """
    at = np.searchsorted(spots, own_keys).clip(0, len(spots) - 1)
    hit = np.flatnonzero(spots[at] == own_keys)
    sums = [np.bincount(at[hit], offsets[hit, axis], len(spots)) for axis in (0, 1)]
    counts = np.bincount(at[hit], minlength=len(spots))
    return np.stack(sums, axis=1).astype(np.float32) / counts[:, None].astype(np.float32)


def words_of_marks(
    words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray, least: int
) -> np.ndarray:
    """The WORDS whose mark is on at least `least` photos, with "needed" filled in."""
    pairs, agreeing = count_words(words, keypoints, sizes)
    is_borne = np.zeros(len(words), bool)
    for mark in np.unique(words["mark"]):
        counts = agreeing[pairs[:, 0] == mark]
        usual = np.median(counts[counts >= BEARER_WORDS]) if (counts >= BEARER_WORDS).any() else 0
        needed = max(BEARER_WORDS, int(BEARER_SHARE * usual))
        in_mark = words["mark"] == mark
        words["needed"][in_mark] = needed
        is_borne[in_mark] = (counts >= needed).sum() >= least
    return words[is_borne]


def grow(
    words: np.ndarray, keypoints: CodedKeypoints, gallery: Gallery, unit: int
) -> Iterator[Spots]:
    """Find spots within REACH of each mark that a share GROWTH of its bearers have.

    Args:
        words: WORDS (m,), of the marks, in this unit.
        keypoints: keypoints of all photos.
        gallery: data about all photos.
        unit: unit of the places.
    """
    placed = place_marks(words, keypoints, gallery.sizes)
    margin = np.float32(REACH) / measures(gallery.sizes, unit)[placed["photo"]]
    placed["box"][:, :2] -= margin
    placed["box"][:, 2:] += margin
    nearby = keypoints.where(Marks(placed, words).covered(keypoints.entries))
    for mark in np.unique(words["mark"]):
        boxes = placed[placed["mark"] == mark]
        some = nearby.where(Marks(boxes, words).covered(nearby.entries))
        bearers = len(np.unique(boxes["photo"]))
        yield find_spots(some, gallery, unit, max(MIN_GROWTH, int(np.ceil(GROWTH * bearers))))


def unrelated_similarity(descriptors: np.ndarray) -> float:
    """Similarity that strangers of a gallery rarely exceed.

    It is as far above the median of random pairs as their tenth percentile is below. So it is
    stable in a gallery of few things with many photos each.
    """
    rng = np.random.default_rng(SEED)
    first, second = rng.integers(len(descriptors), size=(2, PAIRS))
    distinct = first != second
    left_rows, right_rows = (
        np.asarray(descriptors[ids[distinct]], np.float32) for ids in (first, second)
    )
    low, median = np.quantile((left_rows * right_rows).sum(1), (0.1, 0.5))
    return float(2 * median - low)


def are_unrelated(
    photos: np.ndarray, starts: np.ndarray, counts: np.ndarray, gallery: Gallery
) -> np.ndarray:
    """Which groups of photos mostly show different things, bool (s,).

    Args:
        photos: int (n,), the concatenated groups.
        starts: int (s,), start of each group.
        counts: int (s,), photos per group. In a group of fewer than SAMPLE, a photo compared with
            itself does not count as a stranger.
        gallery: data about all photos.
    """
    rng = np.random.default_rng(SEED)
    parts = (np.arange(SAMPLE) + rng.random((len(starts), SAMPLE))) / SAMPLE
    sample = photos[starts[:, None] + (parts * counts[:, None]).astype(np.int64)]
    above, unrelated = np.triu_indices(SAMPLE, 1), [np.empty(0, bool)]
    for start in range(0, len(sample), SPOTS):
        some = sample[start : start + SPOTS]
        ids, at = np.unique(some, return_inverse=True)
        rows = np.asarray(gallery.descriptors[ids], np.float32)[at.reshape(some.shape)]
        sims = (rows @ rows.transpose(0, 2, 1))[:, above[0], above[1]]
        unrelated.append(np.median(sims, axis=1) <= gallery.limit)
    return np.concatenate(unrelated)


def as_marks(spots: Spots) -> np.ndarray:
    """Group adjacent spots into marks with at least MIN_WORDS words: WORDS (m,)."""
    key, offsets = spots.key, spots.offset
    anchors, half = anchor_of(key), 3 * int(1 / CELL) // 4
    cells = np.floor(offsets / CELL * 2).astype(int) + half
    occupied = np.zeros((9, 2 * half, 2 * half), bool)
    at = anchors[:, 1] * 3 + anchors[:, 0], cells[:, 1], cells[:, 0]
    occupied[at] = True
    adjacent = np.zeros((3, 3, 3), bool)
    adjacent[1] = True  # adjacent cells, of the same anchor only
    labels = ndimage.label(ndimage.binary_dilation(occupied, adjacent), adjacent)[0][at]
    words = np.zeros(len(key), WORDS)
    words["key"], words["grid"], words["mark"] = key, spots.grid, labels
    in_marks = np.zeros(len(key), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(np.unique(list_of(key[members]))) < MIN_WORDS:
            continue
        in_marks[members] = True
        for part in split(offsets, members):
            words["box"][part, :2] = offsets[part].min(0) - MARGIN
            words["box"][part, 2:] = offsets[part].max(0) + MARGIN
    return words[in_marks]


def split(offsets: np.ndarray, members: np.ndarray) -> list[np.ndarray]:
    """Split spots into parts whose boxes are at most LARGEST, and FILLED.

    Args:
        offsets: float32 (s, 2), of all spots.
        members: indices of the spots to split, int (n,).
    """
    low, high = offsets[members].min(0), offsets[members].max(0)
    cells = np.floor((offsets[members] - low) / CELL).astype(int)
    occupied = np.zeros(cells.max(0) + 1, bool)
    occupied[tuple(cells.T)] = True
    filled = ndimage.binary_dilation(occupied, np.ones((3, 3))).mean()
    if (high - low + 2 * MARGIN).prod() <= LARGEST and filled >= FILLED:
        return [members]
    axis = int((high - low).argmax())
    first = offsets[members, axis] < (low + high)[axis] / 2
    return [*split(offsets, members[first]), *split(offsets, members[~first])]
