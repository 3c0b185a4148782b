"""Marks: logos, date stamps, watermarks and frames at the same place in many photos.

They say nothing about what a photo shows, so their keypoints are excluded from the keypoint index
and from verification. `find_marks` detects them when a store is built; photos that are added later
are checked for the known marks.

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
    [("key", "<i8"), ("grid", "u1"), ("mark", "<i4"), ("needed", "<i4"), ("box", "<f4", (4,))]
)
FILES = ("marks.npy", "mark_words.npy")

CELL = 1 / 32  # of the longest side: twice as far as resizing and recompressing move a keypoint
CELL_BITS = 5  # an anchor's third is at most 11 cells each way
SHIFTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))  # offsets of the grids, in cells
UNITS = 2  # units of length: the longest side; pixels of the photo in keypoint coordinates
GRIDS = UNITS * len(SHIFTS)
BEARER_WORDS = 2  # minimum words of a mark on a bearer: a single one may be chance
MAX_LOST = 0.5  # maximum share of a photo's keypoints: beyond, it shows little besides marks


@dataclass(frozen=True)
class Marks:
    """The marks of a gallery.

    Attributes:
        placed: PLACED (n,), by photo: which photo bears which mark, and in which box: left, top,
            right and bottom in 0 to 1 of the photo. A mark may have several boxes.
        words: WORDS (m,): how a mark is recognised. "key" is one of `keys` in a "grid"; "box" is
            around it: left, top, right and bottom from its anchor, in the grid's unit. Photos with
            "needed" of a mark's lists bear it.
    """

    placed: np.ndarray
    words: np.ndarray

    @staticmethod
    def none() -> Marks:
        """No marks."""
        return Marks(np.empty(0, PLACED), np.empty(0, WORDS))

    @staticmethod
    def load(folder: Path, photos: int) -> Marks:
        """Load marks that `save` wrote.

        Args:
            folder: folder of the generation.
            photos: number of photos in the generation.

        Raises:
            ValueError: a file is damaged.
            OSError: a file cannot be read.
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
        """Boxes of a photo's marks: float32 (n, 4), left, top, right, bottom in 0 to 1."""
        start, end = np.searchsorted(self.placed["photo"], [photo, photo + 1])
        return self.placed["box"][start:end]

    def outside(self, photo: int, features: LocalFeatures) -> LocalFeatures:
        """The keypoints of a photo that are outside its marks."""
        boxes = self.boxes(photo)
        if not len(boxes):
            return features
        points = (features.points / features.size[::-1])[:, None]
        inside = (boxes[:, :2] <= points) & (points <= boxes[:, 2:])
        return features.subset(~inside.all(2).any(1))

    def covered(self, entries: np.ndarray) -> np.ndarray:
        """Which entries of a keypoint index belong to marks, bool (m,)."""
        photos, points = located(entries)
        ids, starts, counts = np.unique(self.placed["photo"], return_index=True, return_counts=True)
        inside = np.zeros(len(entries), bool)
        if not len(ids):
            return inside
        position = np.searchsorted(ids, photos).clip(0, len(ids) - 1)
        inside_candidates = np.flatnonzero(ids[position] == photos)
        for number in range(counts.max()):
            inside_candidates = inside_candidates[counts[position[inside_candidates]] > number]
            box = self.placed["box"][starts[position[inside_candidates]] + number]
            some = points[inside_candidates]
            inside[inside_candidates] |= ((box[:, :2] <= some) & (some <= box[:, 2:])).all(1)
        return inside

    def uncovered(self, keypoints: CodedKeypoints) -> CodedKeypoints:
        """The keypoints that are outside marks."""
        if not len(self.placed):
            return keypoints
        return keypoints.where(~self.covered(keypoints.entries))

    def renumbered(self, new_ids: np.ndarray) -> Marks:
        """The same marks with new photo ids.

        Args:
            new_ids: int (N,), the new id of each photo, -1 for a removed one.
        """
        ids = new_ids[self.placed["photo"]]
        placed = self.placed[ids >= 0].copy()
        placed["photo"] = ids[ids >= 0]
        return Marks(placed[np.argsort(placed["photo"], kind="stable")], self.words)

    def joined(self, added: CodedKeypoints, sizes: np.ndarray) -> Marks:
        """The same marks, also placed on added photos.

        Args:
            added: keypoints of the added photos.
            sizes: int (N, 2), height and width of all photos.
        """
        fresh = without_crowded(place_marks(self.words, added, sizes), added.entries)
        placed = np.concatenate([self.placed, fresh])
        return Marks(placed[np.argsort(placed["photo"], kind="stable")], self.words)


def located(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Photos int64 (m,), and positions float32 (m, 2), x and y in 0 to 1, of entries int64 (m,)."""
    places = np.stack([entries >> 16 & 0xFFFF, entries & 0xFFFF], axis=1)
    return entries >> 32, ((places + 0.5) / STEPS).astype(np.float32)


def measures(sizes: np.ndarray, unit: int) -> np.ndarray:
    """Width and height of photos in a unit of UNITS, float32 (N, 2).

    Photos of at most SIFT_SIDE are not shrunk. A logo with a fixed size in pixels has a fixed size
    in the second unit, one that covers a fixed share of each photo has one in the first.

    Args:
        sizes: int (N, 2), height and width in pixels.
        unit: index of the unit.
    """
    longest = sizes.max(1, keepdims=True)
    whole = longest if unit == 0 else np.maximum(longest, SIFT_SIDE)
    return (sizes[:, ::-1] / whole).astype(np.float32)


def from_anchor(points: np.ndarray, measure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anchors int8 (m, 2), in halves of width and height, and offsets from them, float32 (m, 2).

    Args:
        points: float32 (m, 2), x and y in 0 to 1.
        measure: `measures` of their photos, float32 (m, 2).
    """
    anchors = (points * 3).astype(np.int8).clip(0, 2)
    return anchors, (points - anchors / np.float32(2)) * measure


def keys(lists: np.ndarray, anchors: np.ndarray, offsets: np.ndarray, grid: int) -> np.ndarray:
    """Keys that combine a keypoint's cell in a grid and its list, int64 (m,).

    Args:
        lists: int (m,), below 2**18.
        anchors, offsets: output of `from_anchor`, (m, 2).
        grid: index of the grid, below GRIDS.
    """
    half = 2 ** (CELL_BITS - 1)
    shift = np.array(SHIFTS[grid % len(SHIFTS)], np.float32)
    x, y = (np.floor(offsets / np.float32(CELL) + shift).astype(np.int64) + half).T
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
    """Index of each grid, and the `keys` of keypoints in it, int64 (m,). sizes: see `joined`."""
    photos, points = located(keypoints.entries)
    for grid in range(GRIDS):
        if grid % len(SHIFTS) == 0:
            measure = measures(sizes, grid // len(SHIFTS))
            anchors, offsets = from_anchor(points, measure[photos])
        yield grid, keys(keypoints.lists, anchors, offsets, grid)


def count_words(
    words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the words of each mark that photos have at the mark's place.

    Args:
        words: WORDS (m,), of the marks.
        keypoints: keypoints of the photos.
        sizes: int (N, 2), height and width of all photos.

    Returns:
        Mark and photo int64 (n, 2), ascending, and the number of the mark's lists, int (n,).
    """
    photos = keypoints.entries >> 32
    found = [np.empty((0, 3), np.int64)]  # mark, photo, list
    for grid, key in in_grids(keypoints, sizes) if len(words) else ():
        grid_words = np.sort(words[words["grid"] == grid], order="key")
        if not len(grid_words):
            continue
        positions = np.searchsorted(grid_words["key"], key).clip(0, len(grid_words) - 1)
        hit = np.flatnonzero(grid_words["key"][positions] == key)
        marks = grid_words["mark"][positions[hit]].astype(np.int64)
        found.append(np.stack([marks, photos[hit], keypoints.lists[hit]], axis=1))
    matches = np.unique(np.concatenate(found), axis=0)
    return np.unique(matches[:, :2], axis=0, return_counts=True)


def place_marks(words: np.ndarray, keypoints: CodedKeypoints, sizes: np.ndarray) -> np.ndarray:
    """Find the photos that bear marks: PLACED (n,), by photo. Arguments as in `count_words`."""
    pairs, agreeing = count_words(words, keypoints, sizes)
    rows = [np.empty(0, PLACED)]
    for mark in np.unique(words["mark"]):
        mark_words = words[words["mark"] == mark]
        ids = pairs[(pairs[:, 0] == mark) & (agreeing >= mark_words["needed"][0]), 1]
        _, first = np.unique(mark_words["box"], axis=0, return_index=True)
        for word in mark_words[first]:
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


def without_crowded(placed: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The rows PLACED, except of photos that would lose more than MAX_LOST of their entries."""
    is_covered = Marks(placed, np.empty(0, WORDS)).covered(entries)
    photos = entries >> 32
    ids, owner = np.unique(photos, return_inverse=True)
    share = np.bincount(owner, is_covered) / np.maximum(np.bincount(owner), 1)
    return placed[~np.isin(placed["photo"], ids[share > MAX_LOST])]
