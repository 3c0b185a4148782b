"""Keypoint index: the keypoints of all photos in inverted lists, to find photos with like details.

A RootSIFT descriptor is in the list of its nearest centroid, and its residual is encoded by product
quantisation (Jégou et al. 2011). The centroids are those of an inverted multi-index (Babenko and
Lempitsky 2012): each half of a descriptor has its own, and each pair of them has a list. Centroids
and codes are learned once, on photos of no gallery (`learn_keypoint_index`), and shipped, so a
store needs no training.

The file is searched through a memory map:

    head    uint32 (1 + lists,), the CRC-32 of the rest of the head, and the size of each list
    lists   concatenated; for each its codes uint8 (n, code_bytes), then entries int64 (n,)

An entry holds the photo and position of a keypoint: the photo's id in 32 bits, then x and y in 16
bits each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from extractor import LocalFeatures, open_regular

from .keypoint_form import KeypointForm, empty_index
from .keypoint_lists import ENTRY_BYTES, lists_from_bytes, lists_to_bytes

BATCH = 32  # photos encoded at a time
WRITTEN = 2**12  # lists written at a time
STEPS = 2**16  # values of x and y, across the photo


@dataclass(frozen=True)
class Neighbours:
    """For each keypoint of a query, the most similar ones of a gallery, nearest first.

    Attributes:
        distances: float32 (n, k), between RootSIFT bytes; inf for no result.
        photos: int32 (n, k), ids; -1 for no result.
        places: uint16 (n, k, 2), y and x in STEPS of the photo's height and width.
    """

    distances: np.ndarray
    photos: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class CodedKeypoints:
    """Encoded keypoints of photos, m in all.

    Attributes:
        lists: list of each keypoint, int32 (m,).
        codes: uint8 (m, code_bytes).
        entries: int64 (m,).
    """

    lists: np.ndarray
    codes: np.ndarray
    entries: np.ndarray

    def where(self, selection: np.ndarray) -> CodedKeypoints:
        """A subset of the keypoints, by mask, bool (m,), or by index, int (n,)."""
        return CodedKeypoints(self.lists[selection], self.codes[selection], self.entries[selection])


class KeypointIndex:
    """An open index, memory-mapped and read-only, valid even if the file is deleted. Thread-safe.

    Attributes:
        form: form of the index.
        photos: number of photos in the gallery.
        sizes: uint32 (lists,), entries of each list.
    """

    def __init__(self, path: Path, form: KeypointForm, photos: int):
        """Open an index file.

        Args:
            path: file written by `KeypointChange.save`.
            form: form it was written in.
            photos: number of photos in the gallery.

        Raises:
            ValueError: its length does not match its list sizes, or its head is damaged.
            OSError: it cannot be read.
        """
        self.form, self.photos, self._path = form, photos, path
        with open_regular(path) as file:
            self._bytes = np.asarray(np.memmap(file, np.uint8, "r"))
            self._open(file.fileno())

    def _open(self, handle: int) -> None:
        """Check the mapped file, and map it in faiss too. handle: descriptor of the open file."""
        form = self.form
        head = np.array(self._bytes[: form.head_bytes]).view(np.uint32)
        self.sizes = head[1:]
        self._width = form.code_bytes + ENTRY_BYTES
        self._starts = (
            form.head_bytes + np.cumsum(np.r_[0, self.sizes.astype(np.int64)]) * self._width
        )
        if head[0] != zlib.crc32(self.sizes.tobytes()) or self._starts[-1] != len(self._bytes):
            raise ValueError(f"{self._path.name} is damaged")
        self._index = empty_index(form)
        self._index.nprobe, self._index.max_codes = form.probed, form.compared
        self._index.replace_invlists(self._mapped_lists(handle), True)
        self._index.ntotal = len(self)

    def __len__(self) -> int:
        """Number of keypoints in the index."""
        return int(self.sizes.sum(dtype=np.int64))

    def _mapped_lists(self, handle: int) -> faiss.OnDiskInvertedLists:
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size = self.form.lists, self.form.code_bytes
        places: Any = lists.lists
        places.resize(self.form.lists)
        table = np.zeros((self.form.lists, 3), np.uint64)  # size, capacity, offset
        table[:, 0] = table[:, 1] = self.sizes
        table[:, 2] = self._starts[:-1]
        faiss.memcpy(places.data(), faiss.swig_ptr(table), table.nbytes)
        # faiss rejects file names that are not UTF-8.
        lists.filename, lists.totsize = f"/dev/fd/{handle}", len(self._bytes)
        lists.read_only, lists.prefetch_nthread = True, 0
        lists.do_mmap()
        lists.this.disown()  # type: ignore[attr-defined]  # the index owns it now
        return lists

    def nearest(self, descriptors: np.ndarray, k: int) -> Neighbours:
        """The most similar keypoints of all photos.

        Args:
            descriptors: RootSIFT as bytes, uint8 (n, 128).
            k: number of results per descriptor.
        """
        rows = np.ascontiguousarray(descriptors, np.float32)
        squared, entries = self._index.search(rows, k)
        found = entries >= 0
        places = entries.view("<u2").reshape(*entries.shape, 4)[..., :2]
        photos = (entries >> 32).astype(np.int32)
        photos[~found | (photos >= self.photos)] = -1  # a damaged entry matches no photo
        distances = np.sqrt(np.maximum(squared, 0))
        distances[photos < 0] = np.inf
        return Neighbours(distances, photos, places)

    def block(self, first: int, last: int) -> CodedKeypoints:
        """Keypoints in the lists from `first` up to, but excluding, `last`, in list order."""
        data = self._bytes[self._starts[first] : self._starts[last]]
        sizes = self.sizes[first:last].astype(np.int64)
        lists = np.repeat(np.arange(first, last, dtype=np.int32), sizes)
        return CodedKeypoints(lists, *lists_from_bytes(data, sizes, self.form.code_bytes))


@dataclass(frozen=True)
class KeypointChange:
    """Content of a new index: keypoints of a previous one, and new ones.

    Attributes:
        form: form of all keypoints.
        added: keypoints of new photos.
        before: previous index, in the same form, or None.
        new_ids: int (N,), the new id of each photo in `before`, -1 for a removed photo.
    """

    form: KeypointForm
    added: CodedKeypoints
    before: KeypointIndex | None = None
    new_ids: np.ndarray | None = None

    @staticmethod
    def none(before: KeypointIndex) -> KeypointChange:
        """The previous index, unchanged."""
        return KeypointChange(before.form, coded((), before.form), before, np.arange(before.photos))

    def save(self, path: Path) -> None:
        """Write the file of a KeypointIndex. Raises OSError."""
        order = np.argsort(self.added.lists, kind="stable")
        ends = np.r_[0, np.cumsum(np.bincount(self.added.lists, minlength=self.form.lists))]
        sizes = np.zeros(self.form.lists, np.uint32)
        with open(path, "wb") as file:
            file.write(bytes(self.form.head_bytes))
            for first in range(0, self.form.lists, WRITTEN):
                last = first + WRITTEN
                some = self._merged(first, last, order[ends[first] : ends[last]])
                held = np.bincount(some.lists - first, minlength=WRITTEN)
                file.write(lists_to_bytes(held, some.codes, some.entries))
                sizes[first:last] = held
            file.seek(0)
            file.write(np.r_[np.uint32(zlib.crc32(sizes.tobytes())), sizes].tobytes())

    def _merged(self, first: int, last: int, added: np.ndarray) -> CodedKeypoints:
        """Keypoints for the lists from `first` up to, but excluding, `last`, in list order.

        Args:
            first, last: list numbers.
            added: indices of the new keypoints that belong in these lists, ordered by list.
        """
        new = self.added.where(added)
        if self.before is None:
            return new
        assert self.new_ids is not None
        former_block = self.before.block(first, last)
        owners = former_block.entries >> 32
        # A damaged entry belongs to no photo.
        is_valid = (owners >= 0) & (owners < len(self.new_ids))
        ids = np.where(is_valid, self.new_ids[np.where(is_valid, owners, 0)], -1).astype(np.int64)
        renumbered = ids << 32 | former_block.entries & 0xFFFFFFFF
        retained = CodedKeypoints(former_block.lists, former_block.codes, renumbered).where(
            ids >= 0
        )
        both = CodedKeypoints(
            np.concatenate([retained.lists, new.lists]),
            np.concatenate([retained.codes, new.codes]),
            np.concatenate([retained.entries, new.entries]),
        )
        return both.where(np.argsort(both.lists, kind="stable"))


def coded(photos: Iterable[tuple[int, LocalFeatures | None]], form: KeypointForm) -> CodedKeypoints:
    """Encode keypoints for an index.

    Args:
        photos: id and keypoints of each photo, strongest first; None for missing keypoints.
        form: form of the index.
    """
    index, remaining = empty_index(form), iter(photos)
    lists = [np.empty(0, np.int32)]
    codes = [np.empty((0, form.code_bytes), np.uint8)]
    entries = [np.empty(0, np.int64)]
    while some := list(islice(remaining, BATCH)):
        parts = [
            (id, features.strongest(form.points)) for id, features in some if features is not None
        ]
        rows = [features.descriptors for _, features in parts if len(features.points)]
        if not rows:
            continue
        x = np.concatenate(rows).astype(np.float32)
        numbers = index.quantizer.search(x, 1)[1][:, 0]
        packed = np.empty((len(x), form.code_bytes), np.uint8)
        pointers = (faiss.swig_ptr(array) for array in (x, numbers, packed))
        index.encode_vectors(len(x), *pointers)
        lists.append(numbers.astype(np.int32))
        codes.append(packed)
        entries += [entries_of(id, features) for id, features in parts]
    return CodedKeypoints(concatenated(lists), concatenated(codes), concatenated(entries))


def concatenated(blocks: list[np.ndarray]) -> np.ndarray:
    """Concatenate blocks and empty the list, so that no two columns are in memory twice."""
    whole = np.concatenate(blocks)
    blocks.clear()
    return whole


def entries_of(id: int, features: LocalFeatures) -> np.ndarray:
    """Entries (photo and position) of a photo's keypoints, int64 (n,)."""
    height, width = features.size
    x, y = (features.points / (width, height) * STEPS).clip(0, STEPS - 1).astype(np.int64).T
    return np.int64(id) << 32 | x << 16 | y
