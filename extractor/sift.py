"""RGB photo -> RootSIFT keypoints, for verifying that two photos show the same thing.

SIFT: Lowe 2004. RootSIFT: Arandjelovic and Zisserman 2012 (L1-normalise, square root), here held
as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .decode import resize
from .multiscale import Region

# Longest side that photos are shrunk to before detection; points are in pixels of that size.
SIFT_SIDE = 640
MAX_POINTS = 2000
DESCRIPTOR_SCALE = 512  # RootSIFT values rarely pass 0.5: bytes resolve 1/512 and clip the rest
LAYOUT = 3  # of LocalFeatures.to_bytes: header, points, frames, descriptors
HEADER = np.dtype(
    [("points", "<u4"), ("height", "<u2"), ("width", "<u2"), ("length", "<u4"), ("type", "S4")]
)
DESCRIPTOR_TYPES = ("|u1", "<f2", "<f4")


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints of one photo.

    Attributes:
        points: float32 (n, 2), x and y in pixels of the photo shrunk to SIFT_SIDE.
        frames: complex64 (n,), diameter in those pixels times exp(i angle), the angle from the x
            axis towards the y axis.
        descriptors: (n, d): of SIFT uint8 (n, 128), RootSIFT times DESCRIPTOR_SCALE; of XFeat
            float16 (n, 64).
        size: Height and width of the shrunk photo.
    """

    points: np.ndarray
    frames: np.ndarray
    descriptors: np.ndarray
    size: tuple[int, int]

    def inside(self, region: Region) -> LocalFeatures:
        """Those keypoints that lie in a region of the photo; coordinates stay the whole photo's."""
        left, top, right, bottom = region
        x, y = (self.points / (self.size[1], self.size[0])).T
        kept = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
        return LocalFeatures(
            self.points[kept], self.frames[kept], self.descriptors[kept], self.size
        )

    def to_bytes(self) -> bytes:
        """Everything in one string of bytes, which names the descriptors' type.

        Raises:
            ValueError: The descriptors are of a type that `from_bytes` would not read.
        """
        kind = self.descriptors.dtype.newbyteorder("<")
        if kind.str not in DESCRIPTOR_TYPES:
            raise ValueError(f"Descriptors of type {self.descriptors.dtype} cannot be stored.")
        facts = (len(self.points), *self.size, self.descriptors.shape[1], kind.str.encode())
        arrays = (
            np.array(facts, HEADER),
            self.points.astype("<f4"),
            self.frames.astype("<c8"),
            self.descriptors.astype(kind),
        )
        return b"".join(array.tobytes() for array in arrays)

    @staticmethod
    def from_bytes(data: bytes) -> LocalFeatures:
        """Read what `to_bytes` returned, without copying it.

        Raises:
            ValueError: These are other bytes.
        """
        if len(data) < HEADER.itemsize:
            raise ValueError("Local features without a header.")
        header = np.frombuffer(data, HEADER, 1)[0]
        n, length = int(header["points"]), int(header["length"])
        kind = header["type"].decode("latin-1")
        if kind not in DESCRIPTOR_TYPES:
            raise ValueError("Local features of an unknown type.")
        points_at = HEADER.itemsize
        frames_at = points_at + 8 * n
        descriptors_at = frames_at + 8 * n
        if len(data) != descriptors_at + n * length * np.dtype(kind).itemsize:
            raise ValueError("Local features of another size than their header says.")
        return LocalFeatures(
            points=np.frombuffer(data, "<f4", 2 * n, points_at).reshape(n, 2),
            frames=np.frombuffer(data, "<c8", n, frames_at),
            descriptors=np.frombuffer(data, kind, n * length, descriptors_at).reshape(n, length),
            size=(int(header["height"]), int(header["width"])),
        )


def local_features(photo: np.ndarray) -> LocalFeatures:
    """The strongest RootSIFT keypoints of a photo, at most MAX_POINTS. A flat photo has none.

    Args:
        photo: Decoded, uint8 RGB (H, W, 3).
    """
    grey = cv2.cvtColor(resize(photo, SIFT_SIDE), cv2.COLOR_RGB2GRAY)
    # OpenCV may return a few more than asked for where the weakest tie, hence the cut.
    keypoints, sift = cv2.SIFT_create(nfeatures=MAX_POINTS).detectAndCompute(grey, None)
    if not keypoints:
        return LocalFeatures(
            np.empty((0, 2), np.float32),
            np.empty(0, np.complex64),
            np.empty((0, 128), np.uint8),
            grey.shape,
        )
    strongest = np.argsort([-k.response for k in keypoints], kind="stable")[:MAX_POINTS]
    sift = sift[strongest]
    root = np.sqrt(sift / np.maximum(np.abs(sift).sum(1, keepdims=True), 1e-7))
    return LocalFeatures(
        points=np.float32([keypoints[i].pt for i in strongest]),
        frames=np.complex64(
            [keypoints[i].size * np.exp(1j * np.deg2rad(keypoints[i].angle)) for i in strongest]
        ),
        descriptors=np.clip(np.round(root * DESCRIPTOR_SCALE), 0, 255).astype(np.uint8),
        size=grey.shape,
    )
