"""Effect of JPEG compression on any device: libjpeg's steps without the bit stream.

ITU T.81; the tables are from its annex K, scaled by quality like the Independent JPEG Group does.
Colours have half the resolution (4:2:0), as in OpenCV and most cameras.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

BLOCK = 8
LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def recompress(images: torch.Tensor, qualities: Sequence[int]) -> torch.Tensor:
    """Images after JPEG compression and decompression.

    Args:
        images: uint8 RGB (B, 3, h, w).
        qualities: JPEG quality of each image, 1 to 100.

    Returns:
        uint8 (B, 3, h, w).
    """
    height, width = images.shape[2:]
    to_ycc = torch.from_numpy(np.float32(TO_YCC)).to(images.device)
    rim = (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK))
    x = F.pad(images.float(), rim, mode="replicate")
    ycc = mix(to_ycc, x).round()  # colours about 0, where libjpeg has 128
    luma = quantised(ycc[:, :1] - 128, LUMA, qualities) + 128
    colours = quantised(F.avg_pool2d(ycc[:, 1:], 2).round(), CHROMA, qualities)
    colours = F.interpolate(colours, scale_factor=2.0, mode="bilinear", align_corners=False)
    back = mix(torch.linalg.inv(to_ycc), torch.cat([luma, colours.round()], 1))
    return back[:, :, :height, :width].round().clamp(0, 255).to(torch.uint8)


def mix(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Convert colours: (3, 3) times the channels of (B, 3, h, w)."""
    return (matrix @ x.flatten(2)).unflatten(2, x.shape[2:])


def quantised(x: torch.Tensor, table: np.ndarray, qualities: Sequence[int]) -> torch.Tensor:
    """Planes centred on 0 (B, C, h, w), each block of 8 x 8 quantised in the frequency domain."""
    steps = torch.from_numpy(np.stack([scaled(table, quality) for quality in qualities]))
    steps = steps.to(x.device)[:, None, None, :, None, :]  # (B, 1, 1, 8, 1, 8)
    waves = torch.from_numpy(cosines()).to(x.device)
    blocks = x.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))  # (B, C, h/8, 8, w/8, 8)
    found = torch.einsum("uy,bciyjx,vx->bciujv", waves, blocks, waves)
    rounded = (found / steps).round() * steps
    back = torch.einsum("uy,bciujv,vx->bciyjx", waves, rounded, waves)
    return back.round().clamp(-128, 127).flatten(4).flatten(2, 3)


def scaled(table: np.ndarray, quality: int) -> np.ndarray:
    """Quantisation steps of the frequencies at a quality, float32 (8, 8)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.float32(np.clip((table * percent + 50) // 100, 1, 255))


def cosines() -> np.ndarray:
    """Matrix of the orthogonal discrete cosine transform of 8 values, float32 (8, 8)."""

    u, x = np.mgrid[:BLOCK, :BLOCK]
    waves = np.cos((2 * x + 1) * u * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    waves[0] /= np.sqrt(2)
    return np.float32(waves)
