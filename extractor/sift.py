"""RGB photo -> RootSIFT keypoints, for verifying that two photos show the same thing.

SIFT: Lowe 2004. RootSIFT: Arandjelovic and Zisserman 2012 (L1-normalise, square root), here held as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .decode import resize
from .region import Region

SIFT_SIDE = (
    640  # longest side photos are shrunk to before detection; points are in pixels of that size
)
MAX_POINTS = 2000
DESCRIPTOR_SCALE = 512  # RootSIFT values rarely pass 0.5: bytes resolve 1/512 and clip the rest
LAYOUT = 2  # of LocalFeatures.to_bytes: points, descriptors, frames
HEADER = np.dtype([("points", "<u4"), ("height", "<u2"), ("width", "<u2")])


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints of one photo.

    points: float32 (n, 2), x and y in pixels of the photo shrunk to SIFT_SIDE.
    frames: complex64 (n,), diameter in those pixels times exp(i angle), the angle from the x axis towards the y axis.
    descriptors: uint8 (n, 128), RootSIFT times DESCRIPTOR_SCALE.
    size: (height, width) of the shrunk photo.
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
        header = np.array((len(self.points), *self.size), HEADER)
        arrays = (self.points.astype("<f4"), self.descriptors, self.frames.astype("<c8"))
        return header.tobytes() + b"".join(array.tobytes() for array in arrays)

    @staticmethod
    def from_bytes(data: bytes) -> LocalFeatures:
        header = np.frombuffer(data, HEADER, 1)[0]
        n = int(header["points"])
        points = np.frombuffer(data, "<f4", 2 * n, HEADER.itemsize).reshape(n, 2)
        descriptors = np.frombuffer(data, np.uint8, 128 * n, HEADER.itemsize + 8 * n).reshape(
            n, 128
        )
        frames = np.frombuffer(data, "<c8", n, HEADER.itemsize + 136 * n)
        return LocalFeatures(
            points, frames, descriptors, (int(header["height"]), int(header["width"]))
        )


def local_features(photo: np.ndarray) -> LocalFeatures:
    """The MAX_POINTS strongest RootSIFT keypoints of a decoded photo, uint8 RGB (H, W, 3). A flat photo has none."""
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
