"""Views of many photos at once, as tensors on any device. The random parameters are `..views`'s.

OpenCV's results for the same parameters differ by rounding only: by at most 2 of 255 levels, and
after a JPEG, which rounds once more, by less than 1 on average. Noise, however, is drawn on the
device, with the same deviation but other values.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ..common.views import Light, draw_corners, draw_light, square
from .jpeg import recompress
from .pool import Pool


def random_views(
    pool: Pool,
    numbers: np.ndarray,
    size: int,
    rngs: Sequence[np.random.Generator],
    device: torch.device,
) -> torch.Tensor:
    """A random view of each of B photos.

    Args:
        pool: pool of photos.
        numbers: indices of the photos, int (B,).
        size: side of the views in pixels.
        rngs: random generator of each view, B of them; may be the same one.
        device: device that renders the views.
    Returns:
        uint8 RGB (B, 3, size, size).
    """
    mappings, lights = [], []
    for number, rng in zip(numbers, rngs, strict=True):
        height, width = pool.sizes[number]
        corners, _ = draw_corners(height, width, rng)
        mappings.append(cv2.getPerspectiveTransform(square(size), corners.astype(np.float32)))
        lights.append(draw_light(size, rng))
    photos = pool.batch(numbers, device)
    return relight(warp(photos, pool.sizes[numbers], np.stack(mappings), size), lights)


def warp(photos: torch.Tensor, sizes: np.ndarray, mappings: np.ndarray, size: int) -> torch.Tensor:
    """Parts of photos mapped to squares, bilinear, mirrored beyond the borders.

    Args:
        photos: uint8 (B, side, side, 3), each in the upper left corner.
        sizes: heights and widths of the photos, int (B, 2).
        mappings: from pixels (x, y, 1) of a view to those of its photo, (B, 3, 3).
        size: side of the views in pixels.

    Returns:
        float32 (B, 3, size, size) in 0 to 255.
    """
    device, side = photos.device, photos.shape[1]
    line = torch.arange(size, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # (3, n)
    found = torch.from_numpy(np.float32(mappings)).to(device) @ places  # (B, 3, n)
    last = torch.from_numpy(np.float32(sizes[:, ::-1] - 1)).to(device)[:, :, None]  # last x, y
    at = (found[:, :2] / found[:, 2:]).abs() % (2 * last)
    at = torch.minimum(at, 2 * last - at)  # the second half of a period runs back
    grid = (at * (2 / (side - 1)) - 1).transpose(1, 2).unflatten(1, (size, size))
    values = photos.permute(0, 3, 1, 2).float()
    return F.grid_sample(values, grid, "bilinear", "border", align_corners=True).round()


def relight(views: torch.Tensor, lights: Sequence[Light]) -> torch.Tensor:
    """Views with light applied, see `..views.relight`.

    Args:
        views: float32 (B, 3, s, s) in 0 to 255.
        lights: parameters of each view, B of them.

    Returns:
        uint8 (B, 3, s, s).
    """

    def each(values: list) -> torch.Tensor:  # (B, ...) -> (B, ..., 1, 1)
        column = torch.from_numpy(np.float32(values)).to(views.device)
        return column.reshape(len(lights), -1, 1, 1)

    x = (views / 255) ** each([light.gamma for light in lights])
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * each([light.contrast for light in lights])
    x = (x + mean * each([light.brightness for light in lights])) * each(
        [light.cast for light in lights]
    )
    if grey := [i for i, light in enumerate(lights) if light.grey]:
        x[grey] = x[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if blurred := [i for i, light in enumerate(lights) if light.blur]:
        x[blurred] = blur(x[blurred], [lights[i].blur for i in blurred])
    for i, light in enumerate(lights):
        if light.noise:
            chance = torch.Generator(views.device).manual_seed(light.noise_seed)
            x[i] += light.noise * torch.randn(x[i].shape, generator=chance, device=views.device)
        if light.hidden is not None:
            top, left, h, w = light.hidden
            colour = torch.from_numpy(np.float32(light.colour)).to(views.device)
            x[i, :, top : top + h, left : left + w] = colour[:, None, None]
    out = (x.clamp(0, 1) * 255).to(torch.uint8)
    if packed := [i for i, light in enumerate(lights) if light.quality is not None]:
        out[packed] = recompress(out[packed], [lights[i].quality for i in packed])
    return out


def blur(x: torch.Tensor, deviations: Sequence[float]) -> torch.Tensor:
    """Gaussian blur, each image by its own deviation, mirrored beyond the borders.

    Args:
        x: (B, C, h, w).
        deviations: standard deviations in pixels, B of them.

    Returns:
        (B, C, h, w).
    """
    # OpenCV's kernel for other than 8-bit values spans 8 deviations and an odd number of pixels.
    radii = [(round(8 * deviation + 1) | 1) // 2 for deviation in deviations]
    radius = max(radii)
    line = np.arange(-radius, radius + 1)
    kernels = np.stack(
        [
            np.exp(-(line**2) / (2 * deviation**2)) * (abs(line) <= own_radius)
            for deviation, own_radius in zip(deviations, radii)
        ]
    )
    weights = torch.from_numpy(np.float32(kernels / kernels.sum(1, keepdims=True))).to(x.device)
    padded = F.pad(x, [radius] * 4, mode="reflect")
    # Sums over shifted images: a GPU would compute a grouped convolution with 10 bits (TF32).
    rows = sum(
        weights[:, k, None, None, None] * padded[:, :, :, k : k + x.shape[3]]
        for k in range(2 * radius + 1)
    )
    return sum(
        weights[:, k, None, None, None] * rows[:, :, k : k + x.shape[2]]
        for k in range(2 * radius + 1)
    )


def plain_views(pool: Pool, numbers: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """The largest centred square of each of B photos, uint8 RGB (B, 3, size, size)."""
    sizes = pool.sizes[numbers]
    sides = sizes.min(1)
    photos = pool.batch(numbers, device).permute(0, 3, 1, 2).float()
    return shrink(photos, (sizes - sides[:, None]) // 2, sides, size)


def shrink(images: torch.Tensor, starts: np.ndarray, sides: np.ndarray, size: int) -> torch.Tensor:
    """Squares of images, averaged over areas like OpenCV's INTER_AREA.

    Args:
        images: (B, 3, H, W) in 0 to 255.
        starts: top and left of the squares, (B, 2).
        sides: sides of the squares in pixels, (B,).
        size: side of the result in pixels.

    Returns:
        uint8 (B, 3, size, size).
    """
    down = areas(starts[:, 0], sides, images.shape[2], size, images.device)
    across = areas(starts[:, 1], sides, images.shape[3], size, images.device)
    mixed = down[:, None] @ images @ across[:, None].transpose(2, 3)
    return mixed.round().clamp(0, 255).to(torch.uint8)


def areas(
    starts: np.ndarray, sides: np.ndarray, length: int, size: int, device: torch.device
) -> torch.Tensor:
    """Share of each old pixel in each new one, float32 (B, size, length); rows sum to 1."""
    width = torch.from_numpy(np.float32(sides / size)).to(device)[:, None, None]
    start = torch.from_numpy(np.float32(starts)).to(device)[:, None, None]
    new = torch.arange(size, device=device)[None, :, None] * width + start  # start of each
    positions = torch.arange(length, device=device)[None, None, :]
    covered = torch.minimum(new + width, positions + 1) - torch.maximum(new, positions)
    return covered.clamp(min=0) / width
