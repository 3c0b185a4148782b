"""RGB photo -> RootSIFT keypoints, for verifying that two photos show the same thing.

SIFT: Lowe 2004. RootSIFT: Arandjelovic and Zisserman 2012 (L1-normalise, square root), here stored
as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..photo.crop import Region
from ..photo.decode import resize
from . import keypoint_codes

# Photos are shrunk to this longest side before detection; points are in pixels of that size.
SIFT_SIDE = 640
MAX_POINTS = 2000  # per query
STORED_POINTS = 1050  # per photo of a large gallery, in 40 kB
DESCRIPTOR_SCALE = 512  # RootSIFT values rarely exceed 0.5: bytes resolve 1/512 and clip the rest


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints of one photo.

    Attributes:
        points: float32 (n, 2), x and y in pixels of the photo shrunk to SIFT_SIDE.
        frames: complex64 (n,), diameter in those pixels times exp(i angle), the angle from the x
            axis towards the y axis.
        descriptors: (n, d): for SIFT uint8 (n, 128), RootSIFT times DESCRIPTOR_SCALE; for XFeat
            float16 (n, 64).
        size: height and width of the shrunk photo.
    """

    points: np.ndarray
    frames: np.ndarray
    descriptors: np.ndarray
    size: tuple[int, int]

    def subset(self, rows: np.ndarray | slice) -> LocalFeatures:
        """A subset of the keypoints, by a numpy index: integers, bool (n,), or a slice."""
        return LocalFeatures(
            self.points[rows], self.frames[rows], self.descriptors[rows], self.size
        )

    def inside(self, region: Region) -> LocalFeatures:
        """The keypoints inside a region of the photo, in coordinates of the whole photo."""
        left, top, right, bottom = region
        x, y = (self.points / (self.size[1], self.size[0])).T
        return self.subset((left <= x) & (x <= right) & (top <= y) & (y <= bottom))

    def strongest(self, points: int) -> LocalFeatures:
        """The first `points` of the keypoints, which SIFT orders by strength."""
        return self.subset(slice(points))

    def best(self, points: int) -> LocalFeatures:
        """At most `points` of the SIFT keypoints, in their order.

        Selects those with the largest diameter relative to their rank in strength: larger keypoints
        are more often detected again in other photos of the same thing.
        """
        rank = np.arange(1, len(self.points) + 1)
        return self.subset(np.sort(np.argsort(-np.abs(self.frames) / rank, kind="stable")[:points]))

    def to_bytes(self, exact: bool = False) -> bytes:
        """The SIFT keypoints in the encoding of `keypoint_codes`.

        Args:
            exact: True for all keypoints with unquantised descriptors, 134 bytes each; False for
                the best STORED_POINTS, 38 bytes each.
        """
        stored = self if exact else self.best(STORED_POINTS)
        codebook = keypoint_codes.exact() if exact else keypoint_codes.shipped()
        return keypoint_codes.encode(
            stored.points, stored.frames, stored.descriptors, stored.size, codebook
        )

    @staticmethod
    def from_bytes(data: bytes) -> LocalFeatures:
        """Decode the output of `to_bytes`.

        Raises:
            ValueError: the data is malformed or uses another codebook.
        """
        codebooks = keypoint_codes.shipped(), keypoint_codes.exact()
        return LocalFeatures(*keypoint_codes.decode(data, *codebooks))

    def at_size(self, size: tuple[int, int]) -> LocalFeatures:
        """The same keypoints in pixels of the photo at another size (height, width)."""
        zoom = np.divide(size[::-1], self.size[::-1], dtype=np.float32)
        frames = self.frames * np.float32(np.sqrt(zoom.prod()))
        return LocalFeatures(self.points * zoom, frames, self.descriptors, size)


def shrunk(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a photo after shrinking its longest side to at most SIFT_SIDE, rounded to
    a pixel."""
    zoom = min(1, SIFT_SIDE / max(size))
    return max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom))


def local_features(photo: np.ndarray) -> LocalFeatures:
    """At most MAX_POINTS RootSIFT keypoints of a photo, strongest first; none for a flat photo.

    Args:
        photo: decoded photo, uint8 RGB (H, W, 3).
    """
    grey = cv2.cvtColor(resize(photo, SIFT_SIDE), cv2.COLOR_RGB2GRAY)
    # OpenCV may return a few more than requested where the weakest tie, hence the cut.
    keypoints, sift = cv2.SIFT.create(nfeatures=MAX_POINTS).detectAndCompute(grey, None)
    if not keypoints:
        return LocalFeatures(
            np.empty((0, 2), np.float32),
            np.empty(0, np.complex64),
            np.empty((0, 128), np.uint8),
            grey.shape,
        )
    strongest = np.argsort([-k.response for k in keypoints], kind="stable")[:MAX_POINTS]
    sift = sift[strongest]
    sizes = np.array([keypoints[i].size for i in strongest])
    angles = np.array([keypoints[i].angle for i in strongest])
    root = np.sqrt(sift / np.maximum(np.abs(sift).sum(1, keepdims=True), 1e-7))
    return LocalFeatures(
        points=np.array([keypoints[i].pt for i in strongest], np.float32),
        frames=(sizes * np.exp(1j * np.deg2rad(angles))).astype(np.complex64),
        descriptors=np.clip(np.round(root * DESCRIPTOR_SCALE), 0, 255).astype(np.uint8),
        size=grey.shape,
    )
