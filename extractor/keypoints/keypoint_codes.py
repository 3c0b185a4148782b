"""RootSIFT keypoints as few bytes, for galleries that keep those of every photo.

A point takes six bytes for place, size and angle, and a byte for each part of its descriptor.
Product quantisation (Jégou et al. 2011) splits the 128 values into M equal parts, and keeps of each
part the number of the nearest of 256 words. The words are bytes themselves, so that decoding is
looking up, and what comes out is matched as any RootSIFT bytes are.

A small gallery has room for descriptors as they are: `exact` spells each byte with itself.
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
LAYOUT = 4  # of `encode`: header, then for each point place, size, angle and words
WORDS = 256  # of each part: a byte tells them apart
PLACES = 64  # steps a pixel: photos are at most 640 pixels long, and two bytes hold 1,024
SIZES = 28  # steps an octave: one byte holds sizes of 1 to 550 pixels, 2.5 % apart
TURN = 256  # steps a full turn, 1.4 degrees
# Descriptors that are compared with words at a time. A BLAS makes products this small on the thread
# that asks for them. Larger ones take its own threads, and many times as long where photos are
# encoded side by side.
BLOCK = 256
HEADER = np.dtype([("codebook", "<u4"), ("points", "<u2"), ("height", "<u2"), ("width", "<u2")])


@dataclass(frozen=True, eq=False)
class Codebook:
    """What the parts of a descriptor are spelled with.

    Attributes:
        words: uint8 (M, 256, 128 / M), of each part.
        stretch: How many times longer the words are than the parts they stand for on average. A
            mean of vectors is shorter than they are; with this the descriptors that come out are
            as long as those that went in, and the ratio test may take all for unit vectors.
    """

    words: np.ndarray
    stretch: float = 1.0

    @cached_property
    def digest(self) -> int:
        """Tells codebooks apart, 32 bits."""
        return zlib.crc32(self.words.tobytes())

    @cached_property
    def record(self) -> np.dtype:
        """How a point lies in memory."""
        words = ("words", "u1", (len(self.words),))
        return np.dtype([("x", "<u2"), ("y", "<u2"), ("size", "u1"), ("angle", "u1"), words])

    def nearest(self, descriptors: np.ndarray) -> np.ndarray:
        """uint8 (n, M), the number of the nearest word to each part of descriptors (n, 128)."""
        found = np.empty((len(descriptors), len(self.words)), np.uint8)
        words = self.words.astype(np.float32)
        halves = (words**2).sum(2) / 2
        length = words.shape[2]
        for start in range(0, len(descriptors), BLOCK):
            own = descriptors[start : start + BLOCK] * np.float32(self.stretch)
            for part in range(len(words)):
                # The least of |own - word|² is the most of this: |own|² is the same for all.
                product = own[:, part * length : (part + 1) * length] @ words[part].T
                found[start : start + BLOCK, part] = (product - halves[part]).argmax(1)
        return found

    def spelled_out(self, numbers: np.ndarray) -> np.ndarray:
        """uint8 (n, 128), the descriptors that word numbers (n, M) stand for."""
        return self._entries[numbers + self._starts].view(np.uint8).reshape(len(numbers), 128)

    @cached_property
    def _entries(self) -> np.ndarray:
        """(M * 256,), every word as one element: looked up in one step."""
        parts, count, length = self.words.shape
        return self.words.reshape(parts * count, length).view(f"V{length}")[:, 0]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.arange(len(self.words)) * WORDS


class ExactCodebook(Codebook):
    """Each of the 128 bytes is a part and its own word: nothing is lost, and nothing looked up."""

    def __init__(self) -> None:
        super().__init__(np.tile(np.arange(WORDS, dtype=np.uint8)[None, :, None], (128, 1, 1)))

    def nearest(self, descriptors: np.ndarray) -> np.ndarray:
        return descriptors

    def spelled_out(self, numbers: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(numbers)


@cache
def shipped() -> Codebook:
    """The project's own, 32 parts."""
    with np.load(CODEBOOK, allow_pickle=False) as file:
        return Codebook(file["words"], float(file["stretch"]))


@cache
def exact() -> Codebook:
    """The one that keeps descriptors as they are."""
    return ExactCodebook()


def is_exact(data: bytes) -> bool:
    """Whether descriptors are kept as they are in what `encode` returned."""
    digest = HEADER["codebook"].itemsize
    return int.from_bytes(data[:digest], "little") == exact().digest


def encode(
    points: np.ndarray,
    frames: np.ndarray,
    descriptors: np.ndarray,
    size: tuple[int, int],
    codebook: Codebook,
) -> bytes:
    """SIFT keypoints as bytes: ten, and 6 + M for each point.

    Args:
        points: float32 (n, 2), pixels; at most 65,535 points.
        frames: complex64 (n,), as in `LocalFeatures`.
        descriptors: uint8 (n, 128), RootSIFT.
        size: Height and width of the photo.
        codebook: What the descriptors are spelled with.
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
    """Points, frames, descriptors and size that `encode` was given, as near as its steps are.

    Args:
        data: Of `encode`.
        codebooks: It was given one of these.

    Raises:
        ValueError: These are other bytes, or of another codebook.
    """
    if len(data) < HEADER.itemsize:
        raise ValueError("Keypoints without a header.")
    header = np.frombuffer(data, HEADER, 1)[0]
    known = {codebook.digest: codebook for codebook in codebooks}
    codebook = known.get(int(header["codebook"]))
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
    """complex64 (256, 256), the frame of each size and angle."""
    sizes = np.exp2(np.arange(256) / SIZES)
    turns = np.exp(2j * np.pi * np.arange(TURN) / TURN)
    return np.outer(sizes, turns).astype(np.complex64)
