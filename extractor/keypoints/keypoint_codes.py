"""Compact encoding of RootSIFT keypoints, for galleries that store those of every photo.

A point takes six bytes for position, size and angle, and one byte per part of its descriptor.
Product quantisation (Jégou et al. 2011) splits the 128 values into M equal parts and stores, for
each part, the index of the nearest of 256 words. The words consist of bytes, so decoding is a table
lookup, and the result is matched like any RootSIFT bytes.

A small gallery has room for unquantised descriptors: `exact` stores each byte as it is.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

CODEBOOK = Path(__file__).with_name(
    "keypoint_codebook.npz"
)  # by `extractor.keypoints.learn_codebook`
LAYOUT = 4  # version of `encode`'s layout: header, then position, size, angle, words of each point
WORDS = 256  # per part: one byte indexes them
PLACES = 64  # steps per pixel: sides are at most 640 pixels, and two bytes hold 1,024
SIZES = 28  # steps per octave: one byte holds sizes of 1 to 550 pixels, 2.5 % apart
TURN = 256  # steps per full turn, 1.4 degrees each
# Descriptors compared with words at a time. A BLAS computes products this small on the calling
# thread. For larger ones it starts its own threads, which takes many times as long where photos are
# encoded concurrently.
BLOCK = 256
HEADER = np.dtype([("codebook", "<u4"), ("points", "<u2"), ("height", "<u2"), ("width", "<u2")])


@dataclass(frozen=True, eq=False)
class Codebook:
    """Product quantisation codebook for RootSIFT descriptors.

    Attributes:
        words: uint8 (M, 256, 128 / M), the words of each part.
        stretch: mean ratio of the words' length to that of the parts they stand for. A mean of
            vectors is shorter than the vectors; stretched words keep decoded descriptors as long as
            the originals, so that the ratio test may treat all as unit vectors.
    """

    words: np.ndarray
    stretch: float = 1.0

    @cached_property
    def digest(self) -> int:
        """32-bit checksum that identifies the codebook."""
        return zlib.crc32(self.words.tobytes())

    @cached_property
    def record(self) -> np.dtype:
        """Memory layout of one point."""
        words = ("words", "u1", (len(self.words),))
        return np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1"), words])

    def nearest(self, descriptors: np.ndarray) -> np.ndarray:
        """uint8 (n, M), index of the nearest word for each part of descriptors (n, 128)."""
        found = np.empty((len(descriptors), len(self.words)), np.uint8)
        words = self.words.astype(np.float32)
        halves = (words**2).sum(2) / 2
        length = words.shape[2]
        for start in range(0, len(descriptors), BLOCK):
            stretched = descriptors[start : start + BLOCK] * np.float32(self.stretch)
            for part in range(len(words)):
                # Maximising this minimises |own - word|², since |own|² is the same for all words.
                product = stretched[:, part * length : (part + 1) * length] @ words[part].T
                found[start : start + BLOCK, part] = (product - halves[part]).argmax(1)
        return found

    def spelled_out(self, numbers: np.ndarray) -> np.ndarray:
        """uint8 (n, 128), the descriptors that word indices (n, M) stand for."""
        return self._entries[numbers + self._starts].view(np.uint8).reshape(len(numbers), 128)

    @cached_property
    def _entries(self) -> np.ndarray:
        """(M * 256,), every word as one element, for lookup in a single step."""
        parts, count, length = self.words.shape
        return self.words.reshape(parts * count, length).view(f"V{length}")[:, 0]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.arange(len(self.words)) * WORDS


class ExactCodebook(Codebook):
    """Identity codebook: each of the 128 bytes is a part and its own word, so nothing is lost."""

    def __init__(self) -> None:
        super().__init__(np.tile(np.arange(WORDS, dtype=np.uint8)[None, :, None], (128, 1, 1)))

    def nearest(self, descriptors: np.ndarray) -> np.ndarray:
        return descriptors

    def spelled_out(self, numbers: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(numbers)


@cache
def shipped() -> Codebook:
    """The project's codebook, 32 parts."""
    with np.load(CODEBOOK, allow_pickle=False) as file:
        return Codebook(file["words"], float(file["stretch"]))


@cache
def exact() -> Codebook:
    """The codebook that stores descriptors unquantised."""
    return ExactCodebook()


def is_exact(data: bytes) -> bool:
    """Whether the output of `encode` holds unquantised descriptors."""
    digest = HEADER["codebook"].itemsize
    return int.from_bytes(data[:digest], "little") == exact().digest


def encode(
    points: np.ndarray,
    frames: np.ndarray,
    descriptors: np.ndarray,
    size: tuple[int, int],
    codebook: Codebook,
) -> bytes:
    """SIFT keypoints as bytes: a header of ten bytes, then 6 + M bytes per point.

    Args:
        points: float32 (n, 2), pixels; at most 65,535 points.
        frames: complex64 (n,), as in `LocalFeatures`.
        descriptors: uint8 (n, 128), RootSIFT.
        size: height and width of the photo.
        codebook: codebook that encodes the descriptors.
    """
    records = np.empty(len(points), codebook.record)
    records["x"], records["y"] = np.round(points * PLACES).clip(0, 65_535).T
    octaves = np.log2(np.maximum(np.abs(frames), 1))
    records["size"] = np.round(octaves * SIZES).clip(0, 255)
    records["angle"] = np.round(np.angle(frames) / (2 * np.pi) * TURN) % TURN
    records["words"] = codebook.nearest(descriptors)
    header = np.array((codebook.digest, len(records), *size), HEADER)
    return header.tobytes() + records.tobytes()


def decode(
    data: bytes, *codebooks: Codebook
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Points, frames, descriptors and size from the output of `encode`, up to quantisation.

    Args:
        data: output of `encode`.
        codebooks: candidate codebooks; `encode` used one of them.

    Raises:
        ValueError: the data is malformed or uses another codebook.
    """
    if len(data) < HEADER.itemsize:
        raise ValueError("Keypoints without a header.")
    header = np.frombuffer(data, HEADER, 1)[0]
    by_digest = {codebook.digest: codebook for codebook in codebooks}
    codebook = by_digest.get(int(header["codebook"]))
    if codebook is None:
        raise ValueError("Keypoints of another codebook.")
    if len(data) != HEADER.itemsize + int(header["points"]) * codebook.record.itemsize:
        raise ValueError("Keypoints of another size than their header says.")
    records = np.frombuffer(data, codebook.record, offset=HEADER.itemsize)
    return (
        np.stack([records["x"], records["y"]], axis=1) / np.float32(PLACES),
        frame_table()[records["size"], records["angle"]],
        codebook.spelled_out(records["words"]),
        (int(header["height"]), int(header["width"])),
    )


@cache
def frame_table() -> np.ndarray:
    """complex64 (256, 256), the frame of each quantised size and angle."""
    sizes = np.exp2(np.arange(256) / SIZES)
    turns = np.exp(2j * np.pi * np.arange(TURN) / TURN)
    return np.outer(sizes, turns).astype(np.complex64)
