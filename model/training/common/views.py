"""Random views of a photo, as if by another photographer, on another day, with another camera.

Random parameters are drawn first: the corners of the visible part, and its `Light`. Here OpenCV
renders a view from them, one at a time; on a GPU `device.views` renders many from the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MIN_AREA = 0.25  # minimum share of the photo's area in a view
PERSPECTIVE = 0.12  # corners move by up to this share of the crop's side
ROTATION = 12.0  # degrees
ALIASES = 1.5  # photo pixels per view pixel above which a point-sampling warp would alias


@dataclass(frozen=True)
class Light:
    """Photometric parameters of a view, for RGB in 0 to 1.

    Attributes:
        gamma: exponent of the values.
        contrast: factor of the distance from the mean.
        brightness: factor of the mean.
        cast: factor of each colour, (3,).
        grey: whether colours are replaced by their mean.
        blur: standard deviation in pixels; 0 for none.
        noise: standard deviation; 0 for none.
        noise_seed: seed of the noise.
        hidden: top, left, height and width in pixels of an occluded part; None for none.
        colour: colour of the occlusion, (3,); None for none.
        quality: JPEG quality of a recompression; None for none.
    """

    gamma: float
    contrast: float
    brightness: float
    cast: np.ndarray
    grey: bool
    blur: float
    noise: float
    noise_seed: int
    hidden: tuple[int, int, int, int] | None
    colour: np.ndarray | None
    quality: int | None


def plain_view(photo: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of a photo, uint8 RGB (H, W, 3) -> (size, size, 3)."""
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return cv2.resize(
        photo[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA
    )


def random_view(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A part of a photo under a random perspective, light and lens.

    Args:
        photo: uint8 RGB (H, W, 3).
        size: side of the view in pixels.
        rng: random generator.

    Returns:
        uint8 RGB (size, size, 3).
    """
    return photometric(geometric(photo, size, rng), rng)


def draw_corners(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A random part of a photo, rotated and tilted.

    It has MIN_AREA to all of the photo's area and an aspect ratio of 3:4 to 4:3. It is never
    mirrored: a mirrored facade is another facade.

    Args:
        height, width: size of the photo in pixels.
        rng: random generator.

    Returns:
        Its corners (x, y) in pixels, float64 (4, 2), clockwise from the upper left, and its shorter
        side before tilting.
    """
    area = rng.uniform(MIN_AREA, 1.0) * height * width
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    w, h = min(width, np.sqrt(area * aspect)), min(height, np.sqrt(area / aspect))
    centre = np.array([rng.uniform(w / 2, width - w / 2), rng.uniform(h / 2, height - h / 2)])
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (
        corners @ rotation.T + rng.uniform(-PERSPECTIVE, PERSPECTIVE, (4, 2)) * (w, h) + centre
    )
    return corners, min(w, h)


def square(size: int) -> np.ndarray:
    """The corners of a view, float32 (4, 2), in the order of `draw_corners`."""
    return np.float32([[0, 0], [size, 0], [size, size], [0, size]])


def geometric(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a photo, mapped to a square in one warp.

    Args:
        photo: uint8 RGB (H, W, 3).
        size: side of the square in pixels.
        rng: random generator.

    Returns:
        uint8 RGB (size, size, 3).
    """
    height, width = photo.shape[:2]
    corners, side = draw_corners(height, width, rng)
    shrink = max(1.0, side / size)
    if shrink > ALIASES:
        photo = cv2.resize(photo, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        corners = corners / shrink
    mapping = cv2.getPerspectiveTransform(corners.astype(np.float32), square(size))
    return cv2.warpPerspective(
        photo, mapping, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def draw_light(size: int, rng: np.random.Generator) -> Light:
    """Random brightness, contrast, colour cast and gamma; sometimes further effects.

    Args:
        size: side of the view in pixels.
        rng: random generator.
    """
    gamma = np.exp(rng.uniform(-0.5, 0.5))
    contrast, brightness = rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.4)
    cast = rng.uniform(0.85, 1.15, 3)
    grey = rng.random() < 0.1
    blur = rng.uniform(0.5, 1.8) if rng.random() < 0.2 else 0.0
    noise, noise_seed = 0.0, 0
    if rng.random() < 0.2:
        noise, noise_seed = rng.uniform(0.01, 0.06), int(rng.integers(2**31))
    hidden, colour = None, None
    if rng.random() < 0.3:
        h, w = (int(size * rng.uniform(0.1, 0.4)) for _ in range(2))
        top, left = rng.integers(0, size - h + 1), rng.integers(0, size - w + 1)
        hidden, colour = (int(top), int(left), h, w), rng.uniform(0, 1, 3)
    quality = int(rng.integers(25, 80)) if rng.random() < 0.3 else None
    return Light(
        gamma, contrast, brightness, cast, grey, blur, noise, noise_seed, hidden, colour, quality
    )


def photometric(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply random light to a square view, uint8 RGB (size, size, 3)."""
    return relight(view, draw_light(len(view), rng))


def relight(view: np.ndarray, light: Light) -> np.ndarray:
    """A view with light applied.

    Args:
        view: uint8 RGB (h, w, 3).
        light: parameters drawn for its size.

    Returns:
        uint8 RGB (h, w, 3).
    """
    # All of this maps each value independently, so a table of 256 entries saves most of the work.
    table = np.linspace(0, 1, 256) ** light.gamma
    mean = np.bincount(view.ravel(), minlength=256) @ table / view.size
    table = (table - mean) * light.contrast + mean * light.brightness
    x = cv2.LUT(view, np.float32(table[None, :, None] * light.cast))
    if light.grey:
        x = np.repeat(x.mean(2, keepdims=True), 3, axis=2)
    if light.blur:
        x = cv2.GaussianBlur(x, (0, 0), light.blur)
    if light.noise:
        x = x + np.random.default_rng(light.noise_seed).normal(0, light.noise, x.shape)
    if light.hidden is not None:
        top, left, h, w = light.hidden
        x[top : top + h, left : left + w] = light.colour
    result = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if light.quality is not None:
        bgr = np.ascontiguousarray(result[:, :, ::-1])
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, light.quality])[1]
        result = np.ascontiguousarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1])
    return result
