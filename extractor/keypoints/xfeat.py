"""RGB photo -> XFeat keypoints, a learned alternative to SIFT.

Potje et al. 2024, "XFeat: Accelerated Features for Lightweight Image Matching". The network is an
ONNX file written by `python -m export --xfeat`; it is optional and not part of the repository.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from joblib import cpu_count

from ..descriptor.extractor import DEFAULT_MODEL, BadModel
from ..descriptor.sealing import is_sealed
from ..descriptor.untracked import ort, quiet_session
from ..photo.decode import resize
from .sift import SIFT_SIDE, LocalFeatures

XFEAT_MODEL = DEFAULT_MODEL.with_name("xfeat.onnx")
STRIDE = 32  # sides must be multiples of this


def read_matching_model(path: Path, threads: int) -> ort.InferenceSession:
    """Load an ONNX file that `python -m export --xfeat` wrote.

    Args:
        path: path of the file.
        threads: number of cores to use.

    Raises:
        BadModel: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadModel(
            f"{path} is missing. Create it: "
            "pip install -r requirements-matchers.txt && python -m export --xfeat"
        ) from None
    if not is_sealed(data):
        raise BadModel(f"{path} is damaged (checksum). Create it again: python -m export --xfeat")
    return quiet_session(data, threads)


class XFeatKeypoints:
    """Detects the strongest XFeat keypoints of a photo. Thread-safe. Raises BadModel."""

    def __init__(self, model: Path = XFEAT_MODEL):
        self._session = read_matching_model(model, cpu_count())

    def __call__(self, photo: np.ndarray) -> LocalFeatures:
        """Detect a photo's keypoints.

        Args:
            photo: decoded photo, uint8 RGB (H, W, 3).

        Returns:
            Points in pixels of the photo shrunk to SIFT_SIDE, strongest first. Descriptors are
            float16 (n, 64), unit vectors. Frames are all 1: XFeat keypoints have neither size nor
            angle.
        """
        small = resize(photo, SIFT_SIDE)
        height, width = small.shape[:2]
        # As in the authors' code: resize to the next smaller multiple, then scale points back.
        fitted = max(STRIDE, width // STRIDE * STRIDE), max(STRIDE, height // STRIDE * STRIDE)
        image = cv2.resize(small.astype(np.float32) / 255, fitted, interpolation=cv2.INTER_LINEAR)
        points, scores, descriptors = self._session.run(
            None, {"photo": image.transpose(2, 0, 1)[None]}
        )
        found = scores > 0
        points = points[found] * np.array([width / fitted[0], height / fitted[1]], np.float32)
        return LocalFeatures(
            points=points,
            frames=np.ones(len(points), np.complex64),
            descriptors=descriptors[found].astype(np.float16),
            size=(height, width),
        )
