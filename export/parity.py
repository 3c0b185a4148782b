"""Parity check: compare the exported file's descriptors with the original's, on real photos.

The comparison covers everything after decoding and shrinking: normalisation, scales, network,
pooling, whitening. The original runs in torch, or as the ONNX file that the backbone was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from extractor import Extractor, read_photo, resize
from model import GeMResNet, Provenance

from .recipe import Recipe

MIN_COSINE = 0.9999
SIZES = (160, 320, 480, 768)
ASPECTS = {"as taken": None, "1:1": 1.0, "3:1": 3.0, "1:3": 1 / 3}

Original = Callable[[np.ndarray], np.ndarray]
"""uint8 RGB (H, W, 3) at its final size -> its descriptor float32 (D,)."""


class ParityError(Exception):
    """The exported file does not reproduce the original."""


@dataclass(frozen=True)
class ParityRow:
    """Agreement over all photos of one longest side (pixels) and one aspect ratio (width : height).

    Attributes:
        min_cosine: minimum cosine of a photo's two descriptors.
        max_difference: maximum absolute difference of a descriptor component.
    """

    longest_side: int
    aspect: str
    photos: int
    min_cosine: float
    max_difference: float


def original_in_torch(network: GeMResNet, provenance: Provenance, recipe: Recipe) -> Original:
    """The published method in torch, from pixels to the whitened descriptor.

    Radenovic et al. 2018: each scale by torch's own resampling, descriptors averaged with the power
    msp, then the whitening.
    """
    mean, std = (torch.tensor(v)[:, None, None] for v in (provenance.mean, provenance.std))
    msp = recipe.msp(network)

    def describe(photo: np.ndarray) -> np.ndarray:
        image = ((torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255 - mean) / std)[None]
        total = torch.zeros(())
        with torch.inference_mode():
            for scale in recipe.scales:
                scaled = image
                if scale != 1:
                    scaled = F.interpolate(
                        image, scale_factor=scale, mode="bilinear", align_corners=False
                    )
                total = total + network(scaled)[0] ** msp
        if len(recipe.scales) == 1:
            descriptor = total.numpy()
        else:
            combined = ((total / len(recipe.scales)) ** (1 / msp)).numpy()
            descriptor = combined / np.linalg.norm(combined)
        return descriptor if recipe.whitening is None else recipe.whitening(descriptor[None])[0]

    return describe


def crop_to_aspect(photo: np.ndarray, aspect: float | None) -> np.ndarray:
    """Largest centred crop of a photo (H, W, 3) with this width / height; None: the whole photo."""
    if aspect is None:
        return photo
    height, width = photo.shape[:2]
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - h) // 2, (width - w) // 2
    return photo[top : top + h, left : left + w]


def check_parity(
    original: Original, model: Path, photos: Sequence[Path], sizes: Sequence[int] = SIZES
) -> list[ParityRow]:
    """Compare an exported file with its original, over sizes and aspect ratios.

    Args:
        original: function that describes a photo with the original.
        model: the exported file, run as `Extractor` runs it.
        photos: paths of photos.
        sizes: longest sides in pixels.

    Raises:
        ParityError: the cosine of a photo is below MIN_COSINE.
        ValueError: there are no photos.
    """
    if not photos:
        raise ValueError("parity needs at least one photo")
    extractor = Extractor(model)
    decoded = [read_photo(path) for path in photos]
    rows = []
    for longest_side in sizes:
        for name, aspect in ASPECTS.items():
            cosines, differences = [], []
            for photo in decoded:
                resized = resize(crop_to_aspect(photo, aspect), longest_side)
                expected = original(resized)
                actual = extractor.describe_batch(extractor.normalise(resized)[None])[0]
                norms = np.linalg.norm(expected) * np.linalg.norm(actual)
                cosines.append(float(expected @ actual / norms))
                differences.append(float(np.abs(expected - actual).max()))
            worst, largest = float(np.min(cosines)), float(np.max(differences))
            rows.append(ParityRow(longest_side, name, len(photos), worst, largest))
    bad = [row for row in rows if not row.min_cosine >= MIN_COSINE]  # "not >=": NaN is bad, too
    if bad:
        raise ParityError(
            f"the file and its original disagree: their cosine is {bad[0].min_cosine:.6f}, "
            f"but must be at least {MIN_COSINE}"
        )
    return rows


def format_table(rows: list[ParityRow]) -> str:
    """The rows as a plain-text table."""
    lines = ["longest side  aspect    photos  min cosine  max difference"]
    for row in rows:
        lines.append(
            f"{row.longest_side:12d}  {row.aspect:8s}  {row.photos:6d}"
            f"  {row.min_cosine:10.7f}  {row.max_difference:14.1e}"
        )
    return "\n".join(lines)
