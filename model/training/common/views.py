"""Random views of a photo, as of another photographer, on another day, with another camera."""

from __future__ import annotations

import cv2
import numpy as np

MIN_AREA = 0.25  # of the photo, seen in a view
PERSPECTIVE = 0.12  # corners move by up to this share of the crop's side
ROTATION = 12.0  # degrees


def plain_view(photo: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of a photo, uint8 RGB (H, W, 3) -> (size, size, 3)."""
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return cv2.resize(
        photo[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA
    )


def random_view(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A part of a photo under a random perspective, in other light, through another lens.

    Args:
        photo: uint8 RGB (H, W, 3).
        size: pixels, side of the view.
        rng: source of chance.

    Returns:
        uint8 RGB (size, size, 3).
    """
    return photometric(geometric(photo, size, rng), rng)


def geometric(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a photo, mapped onto a square in one warp.

    It has MIN_AREA to all of the photo's area and an aspect of 3:4 to 4:3, turned and tilted. It is
    never mirrored: a mirrored facade is another facade.

    Args:
        photo: uint8 RGB (H, W, 3).
        size: pixels, side of the square.
        rng: source of chance.

    Returns:
        uint8 RGB (size, size, 3).
    """
    height, width = photo.shape[:2]
    area = rng.uniform(MIN_AREA, 1.0) * height * width
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    w, h = min(width, np.sqrt(area * aspect)), min(height, np.sqrt(area / aspect))
    centre = np.array([rng.uniform(w / 2, width - w / 2), rng.uniform(h / 2, height - h / 2)])
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = corners @ turn.T + rng.uniform(-PERSPECTIVE, PERSPECTIVE, (4, 2)) * (w, h) + centre
    target = np.float32([[0, 0], [size, 0], [size, size], [0, size]])
    shrink = max(1.0, min(w, h) / size)
    if shrink > 1.5:  # a warp samples points: without this it would alias
        photo = cv2.resize(photo, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        corners = corners / shrink
    mapping = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    return cv2.warpPerspective(
        photo, mapping, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def photometric(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another brightness, contrast, colour cast and gamma.

    Now and then the view is grey, blurred, noisy, compressed, or has a part hidden.

    Args:
        view: uint8 RGB (h, w, 3).
        rng: source of chance.

    Returns:
        Likewise.
    """
    # All of this treats each value by itself: a table of 256 saves most of the work.
    table = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.5, 0.5))  # gamma: night and noon
    mean = np.bincount(view.ravel(), minlength=256) @ table / view.size
    table = (table - mean) * rng.uniform(0.6, 1.4) + mean * rng.uniform(0.6, 1.4)
    x = cv2.LUT(view, np.float32(table[None, :, None] * rng.uniform(0.85, 1.15, 3)))
    if rng.random() < 0.1:
        x = np.repeat(x.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.2:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.5, 1.8))
    if rng.random() < 0.2:
        x = x + rng.normal(0, rng.uniform(0.01, 0.06), x.shape)
    if rng.random() < 0.3:
        h, w = (int(n * rng.uniform(0.1, 0.4)) for n in x.shape[:2])
        top, left = rng.integers(0, x.shape[0] - h + 1), rng.integers(0, x.shape[1] - w + 1)
        x[top : top + h, left : left + w] = rng.uniform(0, 1, 3)
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out
