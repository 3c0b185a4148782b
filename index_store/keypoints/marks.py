"""Marks: logos, date stamps, watermarks and frames at one place of the frame in many photos.

They say nothing about what a photo shows. Their keypoints stay out of the keypoint index and of
verification. `find_marks` finds them when a store is built; photos that are added later bear the
marks that are known by then.

A place is measured from the nearest of nine anchors, the corners, the middles of the edges and the
centre, because overlays keep their distance from these in photos of any aspect ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor import LocalFeatures
from extractor.keypoints.sift import SIFT_SIDE

from ..storage.arrays import load_array, save_array
from .keypoint_index import STEPS, CodedKeypoints

PLACED = np.dtype([("photo", "<i4"), ("mark", "<i4"), ("box", "<f4", (4,))])
WORDS = np.dtype(
    [
        ("key", "<i8"),
        ("grid", "u1"),
        ("mark", "<i4"),
        ("needed", "<i4"),
        ("box", "<f4", (4,)),
    ]
)
FILES = ("marks.npy", "mark_words.npy")

CELL = 1 / 32  # of the longest side: twice as far as resizing and recompression move a keypoint
CELL_BITS = 5  # an anchor's third is at most 11 cells each way
SHIFTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))  # of the grids, in cells
UNITS = 2  # of length: the longest side; pixels of the photo as keypoints see it
GRIDS = UNITS * len(SHIFTS)
BEARER_WORDS = 2  # of a mark, at least: one of them may be there by chance
MOST_LOST = 0.5  # of a photo's keypoints: beyond it the photo shows little else than its marks


@dataclass(frozen=True)
class Marks:
    """The marks of a gallery.

    Attributes:
        placed: PLACED (n,), by photo: which photo bears which mark, and in which box: left, top,
            right and bottom in 0 to 1 of the photo. A mark may have several boxes.
        words: WORDS (m,): what a mark is recognised by. "key" is one of `keys` in a "grid", "box"
            lies around it: left, top, right and bottom from its anchor, in the grid's unit. Photos
            that have "needed" of a mark's lists bear it.
    """

    placed: np.ndarray
    words: np.ndarray

    @staticmethod
    def none() -> Marks:
        """No mark at all."""
        return Marks(np.empty(0, PLACED), np.empty(0, WORDS))

    @staticmethod
    def load(folder: Path, photos: int) -> Marks:
        """Read what `save` has written.

        Args:
            folder: Of the generation.
            photos: How many it has.

        Raises:
            ValueError: A file is damaged.
            OSError: It cannot be read.
        """
        placed, words = (
            np.array(load_array(folder / name, dtype, (None,)))
            for name, dtype in zip(FILES, (PLACED, WORDS))
        )
        ids, box = placed["photo"], placed["box"]
        in_order = not len(ids) or (0 <= ids[0] and ids[-1] < photos and (np.diff(ids) >= 0).all())
        in_frame = ((box >= 0) & (box <= 1)).all() and (box[:, :2] <= box[:, 2:]).all()
        if not (in_order and in_frame and (placed["mark"] >= 0).all()):
            raise ValueError(f"{FILES[0]} is damaged")
        if not (np.isfinite(words["box"]).all() and (words["mark"] >= 0).all()):
            raise ValueError(f"{FILES[1]} is damaged")
        return Marks(placed, words)

    def save(self, folder: Path) -> None:
        """Write FILES into a generation's folder. Raises OSError."""
        for name, array in zip(FILES, (self.placed, self.words)):
            save_array(folder / name, array)

    def boxes(self, photo: int) -> np.ndarray:
        """Where a photo bears marks: float32 (n, 4), left, top, right, bottom in 0 to 1."""
        start, end = np.searchsorted(self.placed["photo"], [photo, photo + 1])
        return self.placed["box"][start:end]

    def outside(self, photo: int, features: LocalFeatures) -> LocalFeatures:
        """The keypoints of a photo that belong to no mark."""
        boxes = self.boxes(photo)
        if not len(boxes):
            return features
        points = (features.points / features.size[::-1])[:, None]
        inside = (boxes[:, :2] <= points) & (points <= boxes[:, 2:])
        return features.taken(~inside.all(2).any(1))

    def covered(self, entries: np.ndarray) -> np.ndarray:
        """Which entries of a keypoint index belong to marks, bool (m,)."""
        photos, points = located(entries)
        ids, starts, counts = np.unique(self.placed["photo"], return_index=True, return_counts=True)
        inside = np.zeros(len(entries), bool)
        if not len(ids):
            return inside
        place = np.searchsorted(ids, photos).clip(0, len(ids) - 1)
        rest = np.flatnonzero(ids[place] == photos)
        for number in range(counts.max()):
            rest = rest[counts[place[rest]] > number]
            box = self.placed["box"][starts[place[rest]] + number]
            some = points[rest]
            inside[rest] |= ((box[:, :2] <= some) & (some <= box[:, 2:])).all(1)
        return inside

    def left_out(self, keypoints: CodedKeypoints) -> CodedKeypoints:
        """The keypoints that belong to no mark."""
        if not len(self.placed):
            return keypoints
        return keypoints.where(~self.covered(keypoints.entries))

    def renumbered(self, new_ids: np.ndarray) -> Marks:
        """The same marks after a change of the gallery.

        Args:
            new_ids: int (N,), for each photo its id now, -1 for one that has gone.
        """
        ids = new_ids[self.placed["photo"]]
        placed = self.placed[ids >= 0].copy()
        placed["photo"] = ids[ids >= 0]
        return Marks(placed[np.argsort(placed["photo"], kind="stable")], self.words)

    def joined(self, came: CodedKeypoints, sizes: np.ndarray) -> Marks:
        """The same marks, also on photos that have come.

        Args:
            came: Keypoints of these photos.
            sizes: int (N, 2), height and width of all photos.
        """
        fresh = spared(place_marks(self.words, came, sizes), came.entries)
        placed = np.concatenate([self.placed, fresh])
        return Marks(placed[np.argsort(placed["photo"], kind="stable")], self.words)


def located(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Photos int64 (m,), and places float32 (m, 2), x and y in 0 to 1, of entries int64 (m,)."""
    places = np.stack([entries >> 16 & 0xFFFF, entries & 0xFFFF], axis=1)
    return entries >> 32, ((places + 0.5) / STEPS).astype(np.float32)


def measures(sizes: np.ndarray, unit: int) -> np.ndarray:
    """Width and height of photos in a unit of UNITS, float32 (N, 2).

    Photos of at most SIFT_SIDE are not shrunk. A logo of one size in pixels is of one size in the
    second unit, a logo that fills one share of them is so in the first.

    Args:
        sizes: int (N, 2), height and width in pixels.
        unit: Number of it.
    """
    longest = sizes.max(1, keepdims=True)
    whole = longest if unit == 0 else np.maximum(longest, SIFT_SIDE)
    return (sizes[:, ::-1] / whole).astype(np.float32)


def from_anchor(points: np.ndarray, measure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anchors int8 (m, 2), in halves of width and height, and the way from there, float32 (m, 2).

    Args:
        points: float32 (m, 2), x and y in 0 to 1.
        measure: Of their photos, float32 (m, 2).
    """
    anchors = (points * 3).astype(np.int8).clip(0, 2)
    return anchors, (points - anchors / np.float32(2)) * measure


def keys(lists: np.ndarray, anchors: np.ndarray, ways: np.ndarray, grid: int) -> np.ndarray:
    """Where in a grid keypoints lie, and in which list: equal for equal ones. int64 (m,).

    Args:
        lists: int (m,), below 2**18.
        anchors, ways: Of `from_anchor`, (m, 2).
        grid: Number of it, below GRIDS.
    """
    half = 2 ** (CELL_BITS - 1)
    shift = np.array(SHIFTS[grid % len(SHIFTS)], np.float32)
    x, y = (np.floor(ways / np.float32(CELL) + shift).astype(np.int64) + half).T
    anchor = anchors[:, 1].astype(np.int64) * 3 + anchors[:, 0]
    return ((lists * 9 + anchor << CELL_BITS) + x << CELL_BITS) + y


def anchor_of(key: np.ndarray) -> np.ndarray:
    """The anchors of keys (m,), in halves of width and height: int (m, 2)."""
    anchor = (key >> 2 * CELL_BITS) % 9
    return np.stack([anchor % 3, anchor // 3], axis=1)


def list_of(key: np.ndarray) -> np.ndarray:
    """The lists of keys (m,), int (m,)."""
    return (key >> 2 * CELL_BITS) // 9


def in_grids(keypoints: CodedKeypoints, sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number of each grid, and the `keys` of keypoints in it, int64 (m,). sizes: as of `joined`."""
    photos, points = located(keypoints.entries)
    for grid in range(GRIDS):
        if grid % len(SHIFTS) == 0:
            measure = measures(sizes, grid // len(SHIFTS))
            anchors, ways = from_anchor(points, measure[photos])
        yield grid, keys(keypoints.lists, anchors, ways, grid)


def seen_words(
    words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many words of marks photos have in the places of these.

    Args:
        words: WORDS (m,), of the marks.
        keypoints: Of the photos.
        sizes: int (N, 2), height and width of all photos.

    Returns:
        Mark and photo int64 (n, 2), ascending, and how many of its lists, int (n,).
    """
    photos = keypoints.entries >> 32
    found = [np.empty((0, 3), np.int64)]  # mark, photo, list
    for grid, key in in_grids(keypoints, sizes) if len(words) else ():
        own = np.sort(words[words["grid"] == grid], order="key")
        if not len(own):
            continue
        place = np.searchsorted(own["key"], key).clip(0, len(own) - 1)
        hit = np.flatnonzero(own["key"][place] == key)
        marks = own["mark"][place[hit]].astype(np.int64)
        found.append(np.stack([marks, photos[hit], keypoints.lists[hit]], axis=1))
    seen = np.unique(np.concatenate(found), axis=0)
    return np.unique(seen[:, :2], axis=0, return_counts=True)


def place_marks(words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray) -> np.ndarray:
    """Which photos bear marks, and where: PLACED (n,), by photo. Arguments as of `seen_words`."""
    pairs, agreeing = seen_words(words, keypoints, sizes)
    rows = [np.empty(0, PLACED)]
    for mark in np.unique(words["mark"]):
        own = words[words["mark"] == mark]
        ids = pairs[(pairs[:, 0] == mark) & (agreeing >= own["needed"][0]), 1]
        _, first = np.unique(own["box"], axis=0, return_index=True)
        for word in own[first]:
            row = np.empty(len(ids), PLACED)
            measure = measures(sizes[ids], int(word["grid"]) // len(SHIFTS))
            corners = (
                word["box"].reshape(2, 2) / measure[:, None] + anchor_of(word["key"][None]) / 2
            )
            row["photo"], row["mark"] = ids, mark
            row["box"] = corners.clip(0, 1).reshape(-1, 4)
            rows.append(row)
    placed = np.concatenate(rows)
    return placed[np.argsort(placed["photo"], kind="stable")]


def spared(placed: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The same rows PLACED, without photos that would lose more than MOST_LOST of their entries."""
    lost = Marks(placed, np.empty(0, WORDS)).covered(entries)
    photos = entries >> 32
    ids, place = np.unique(photos, return_inverse=True)
    share = np.bincount(place, lost) / np.maximum(np.bincount(place), 1)
    return placed[~np.isin(placed["photo"], ids[share > MOST_LOST])]
