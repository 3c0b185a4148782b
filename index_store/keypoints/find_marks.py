"""Detection of marks: the same visual words at the same places in many photos of different things.

A spot is a word (a list of the keypoint index) in a cell of a grid. Over 310 photos of different
things no spot occurs in more than 5 of them, so FEWEST is out of reach of chance. The number of
photos that share a spot by chance grows with the gallery, and so does the minimum number of photos.

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
    from_anchor,
    keys,
    list_of,
    located,
    measures,
    place_marks,
    seen_words,
    spared,
)

FEWEST = 8  # minimum photos that bear a mark
SHARE = 0.01  # minimum share of the gallery that bears it
WORD_SHARE = 0.6  # share of them with a given word: in others its descriptor is in another list
LIFT = 10  # minimum ratio to the photos expected if the word's position were random
LEAST_WORDS = 3  # minimum words per mark
BEARER_SHARE = 0.25  # minimum share of the median bearer's words: fewer may be chance
GROWTH = 0.2  # share of a mark's bearers with an adjacent spot that makes it part of the mark
LEAST_GROWTH = 3  # minimum photos for that
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
        place: float32 (s, 2), mean offset of the keypoints from their anchor.
    """

    key: np.ndarray
    grid: np.ndarray
    place: np.ndarray

    @staticmethod
    def joined(parts: Sequence[Spots]) -> Spots:
        """The union of all spots."""
        key = np.concatenate([np.empty(0, np.int64), *(part.key for part in parts)])
        grid = np.concatenate([np.empty(0, np.uint8), *(part.grid for part in parts)])
        place = np.concatenate([np.empty((0, 2), np.float32), *(part.place for part in parts)])
        _, first = np.unique(key * GRIDS + grid, return_index=True)
        return Spots(key[first], grid[first], place[first])


@dataclass(frozen=True)
class Gallery:
    """Data about all photos.

    Attributes:
        sizes: int (N, 2), height and width in pixels.
        descriptors: float16 or float32 (N, D), unit rows.
        limit: maximum similarity of strangers, see `strangers_similarity`.
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
    least = max(FEWEST, int(np.ceil(SHARE * len(sizes))))
    if len(sizes) < least:
        return Marks.none()
    gallery = Gallery(sizes, descriptors, strangers_similarity(descriptors))
    words, rest = np.empty(0, WORDS), keypoints
    for unit in range(UNITS):
        if unit and (measures(sizes, unit) == measures(sizes, 0)).all():
            break
        if len(words):
            placed = place_marks(words, keypoints, sizes)
            rest = keypoints.where(~Marks(placed, words).covered(keypoints.entries))
        spots = find_spots(rest, gallery, unit, int(np.ceil(WORD_SHARE * least)))
        own = borne(as_marks(spots), keypoints, sizes, least)
        if len(own):
            spots = Spots.joined([spots, *around(own, rest, gallery, unit)])
            own = borne(as_marks(spots), keypoints, sizes, least)
        own["mark"] += words["mark"].max(initial=-1) + 1
        words = np.concatenate([words, own])
    _, words["mark"] = np.unique(words["mark"], return_inverse=True)
    return Marks(spared(place_marks(words, keypoints, sizes), keypoints.entries), words)


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
        anchors, ways = from_anchor(points, measure[photos])
        for grid in range(unit * len(SHIFTS), (unit + 1) * len(SHIFTS)):
            own = keys(lists[some], anchors, ways, grid)
            pairs = np.unique(own << PHOTO_BITS | photos)  # (key, photo)
            spots, starts, counts = np.unique(
                pairs >> PHOTO_BITS, return_index=True, return_counts=True
            )
            kept = counts >= np.maximum(least, LIFT * by_chance[list_of(spots)])
            starts, counts = starts[kept], counts[kept]
            strange = are_strangers(pairs & (1 << PHOTO_BITS) - 1, starts, counts, gallery)
            spots = spots[kept][strange]
            if len(spots):
                place = means(spots, own, ways)
                found.append(Spots(spots, np.full(len(spots), grid, np.uint8), place))
    return Spots.joined(found)


def means(spots: np.ndarray, own: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """Mean offsets of the keypoints in each spot, float32 (s, 2).

    Args:
        spots: keys int64 (s,), ascending.
        own: keys of keypoints, int64 (m,).
        ways: offsets of keypoints, float32 (m, 2).
    """
    at = np.searchsorted(spots, own).clip(0, len(spots) - 1)
    hit = np.flatnonzero(spots[at] == own)
    sums = [np.bincount(at[hit], ways[hit, axis], len(spots)) for axis in (0, 1)]
    counts = np.bincount(at[hit], minlength=len(spots))
    return np.stack(sums, axis=1).astype(np.float32) / counts[:, None].astype(np.float32)


def borne(
    words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray, least: int
) -> np.ndarray:
    """The WORDS whose mark is on at least `least` photos, with "needed" filled in."""
    pairs, agreeing = seen_words(words, keypoints, sizes)
    kept = np.zeros(len(words), bool)
    for mark in np.unique(words["mark"]):
        counts = agreeing[pairs[:, 0] == mark]
        usual = np.median(counts[counts >= BEARER_WORDS]) if (counts >= BEARER_WORDS).any() else 0
        needed = max(BEARER_WORDS, int(BEARER_SHARE * usual))
        own = words["mark"] == mark
        words["needed"][own] = needed
        kept[own] = (counts >= needed).sum() >= least
    return words[kept]


def around(
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
    reach = np.float32(REACH) / measures(gallery.sizes, unit)[placed["photo"]]
    placed["box"][:, :2] -= reach
    placed["box"][:, 2:] += reach
    near = keypoints.where(Marks(placed, words).covered(keypoints.entries))
    for mark in np.unique(words["mark"]):
        own = placed[placed["mark"] == mark]
        some = near.where(Marks(own, words).covered(near.entries))
        bearers = len(np.unique(own["photo"]))
        yield find_spots(some, gallery, unit, max(LEAST_GROWTH, int(np.ceil(GROWTH * bearers))))


def strangers_similarity(descriptors: np.ndarray) -> float:
    """Similarity that strangers of a gallery rarely exceed.

    It is as far above the median of random pairs as their tenth percentile is below. So it is
    stable in a gallery of few things with many photos each.
    """
    rng = np.random.default_rng(SEED)
    first, second = rng.integers(len(descriptors), size=(2, PAIRS))
    apart = first != second
    one, other = (np.asarray(descriptors[ids[apart]], np.float32) for ids in (first, second))
    low, median = np.quantile((one * other).sum(1), (0.1, 0.5))
    return float(2 * median - low)


def are_strangers(
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
    above, strange = np.triu_indices(SAMPLE, 1), [np.empty(0, bool)]
    for start in range(0, len(sample), SPOTS):
        some = sample[start : start + SPOTS]
        ids, at = np.unique(some, return_inverse=True)
        rows = np.asarray(gallery.descriptors[ids], np.float32)[at.reshape(some.shape)]
        sims = (rows @ rows.transpose(0, 2, 1))[:, above[0], above[1]]
        strange.append(np.median(sims, axis=1) <= gallery.limit)
    return np.concatenate(strange)


def as_marks(spots: Spots) -> np.ndarray:
    """Group adjacent spots into marks with at least LEAST_WORDS words: WORDS (m,)."""
    key, place = spots.key, spots.place
    anchors, half = anchor_of(key), 3 * int(1 / CELL) // 4
    cells = np.floor(place / CELL * 2).astype(int) + half
    taken = np.zeros((9, 2 * half, 2 * half), bool)
    at = anchors[:, 1] * 3 + anchors[:, 0], cells[:, 1], cells[:, 0]
    taken[at] = True
    near = np.zeros((3, 3, 3), bool)
    near[1] = True  # adjacent cells, of the same anchor only
    labels = ndimage.label(ndimage.binary_dilation(taken, near), near)[0][at]
    words = np.zeros(len(key), WORDS)
    words["key"], words["grid"], words["mark"] = key, spots.grid, labels
    kept = np.zeros(len(key), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if len(np.unique(list_of(key[own]))) < LEAST_WORDS:
            continue
        kept[own] = True
        for part in split(place, own):
            words["box"][part, :2] = place[part].min(0) - MARGIN
            words["box"][part, 2:] = place[part].max(0) + MARGIN
    return words[kept]


def split(place: np.ndarray, own: np.ndarray) -> list[np.ndarray]:
    """Split spots into parts whose boxes are at most LARGEST, and FILLED.

    Args:
        place: float32 (s, 2), of all spots.
        own: indices of the spots to split, int (n,).
    """
    low, high = place[own].min(0), place[own].max(0)
    cells = np.floor((place[own] - low) / CELL).astype(int)
    taken = np.zeros(cells.max(0) + 1, bool)
    taken[tuple(cells.T)] = True
    filled = ndimage.binary_dilation(taken, np.ones((3, 3))).mean()
    if (high - low + 2 * MARGIN).prod() <= LARGEST and filled >= FILLED:
        return [own]
    axis = int((high - low).argmax())
    first = place[own, axis] < (low + high)[axis] / 2
    return [*split(place, own[first]), *split(place, own[~first])]
