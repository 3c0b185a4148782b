"""Descriptors as published: several scales of one photo, and queries that are a part of a photo.

Rules of cirtorch (Radenovic et al. 2018) and of the revisited Oxford and Paris protocol, restated.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .decode import resize

Region = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of the upright photo's width and height, 0 to 1."""


def crop_region(photo: np.ndarray, region: Region | None, longest_side: int) -> np.ndarray:
    """The region at the size it has inside the photo shrunk to `longest_side`; uint8 RGB (H, W, 3) -> (h, w, 3).

    Published rule: crop first, then shrink to longest_side x (longest side of the crop) / (longest side of the photo),
    never enlarging. Raises ValueError for a region that is empty or outside.
    """
    if region is None:
        return resize(photo, longest_side)
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"region {region} is empty or outside 0 to 1")
    height, width = photo.shape[:2]
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    box = (*box[:2], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
    part = np.asarray(Image.fromarray(photo).crop(box))
    return resize(part, max(1, int(longest_side * max(part.shape[:2]) / max(height, width))))


def rescale(batch: np.ndarray, scale: float) -> np.ndarray:
    """Bilinear resampling of normalised float32 (N, C, H, W) to (floor(H scale), floor(W scale)).

    As torch's interpolate(scale_factor=scale, align_corners=False): output pixel i looks at (i + 1/2) / scale - 1/2, no
    smoothing before. `scale` itself counts, not the ratio of the rounded sizes, which is why cv2.resize will not do.
    """
    if scale == 1:
        return batch
    for axis in (2, 3):
        length = batch.shape[axis]
        at = np.maximum((np.arange(max(1, int(length * scale))) + 0.5) / scale - 0.5, 0)
        low = np.minimum(at.astype(np.int64), length - 1)
        high = np.minimum(low + 1, length - 1)
        weight = (at - low).astype(np.float32)
        weight = weight[:, None] if axis == 2 else weight
        batch = np.take(batch, low, axis) * (1 - weight) + np.take(batch, high, axis) * weight
    return np.ascontiguousarray(batch)


def aggregate(descriptors: np.ndarray, msp: float) -> np.ndarray:
    """Descriptors of S scales (S, N, D) -> unit (N, D): (mean of v ** msp) ** (1 / msp), divided by its norm.

    msp is the net's GeM exponent for several scales of a net without whitening inside, else 1; other values need v >= 0.
    """
    together = np.mean(descriptors**msp, axis=0) ** (1 / msp) if msp != 1 else descriptors.mean(0)
    return together / np.linalg.norm(together, axis=1, keepdims=True)
