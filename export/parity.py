"""Does the exported file give torch's descriptors? Compared on real photos, over sizes and aspect ratios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from extractor import Extractor, read_photo, resize
from model import GeMResNet

MIN_COSINE = 0.9999
SIZES = (160, 320, 480, 768)
ASPECTS = {"as taken": None, "1:1": 1.0, "3:1": 3.0, "1:3": 1 / 3}


class ParityError(Exception):
    """The exported file does not reproduce the network."""


@dataclass(frozen=True)
class ParityRow:
    """Agreement over all photos at one longest side and one aspect ratio (width : height)."""

    longest_side: int
    aspect: str
    photos: int
    min_cosine: float
    max_difference: float  # largest absolute difference of one descriptor component


def crop_to_aspect(photo: np.ndarray, aspect: float | None) -> np.ndarray:
    """Largest centred crop of (H, W, 3) with width / height = aspect; the whole photo for None."""
    if aspect is None:
        return photo
    height, width = photo.shape[:2]
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - h) // 2, (width - w) // 2
    return photo[top : top + h, left : left + w]


def check_parity(network: GeMResNet, onnx_path: Path, photos: list[Path]) -> list[ParityRow]:
    """Compare the file at `onnx_path` with the torch network it came from, as `Extractor` would run it.

    Raises ParityError if any cosine is below MIN_COSINE, ValueError without photos.
    """
    if not photos:
        raise ValueError("parity needs at least one photo")
    extractor = Extractor(onnx_path)
    decoded = [read_photo(path) for path in photos]
    rows = []
    for longest_side in SIZES:
        for name, aspect in ASPECTS.items():
            cosines, differences = [], []
            for photo in decoded:
                tensor = extractor.normalise(resize(crop_to_aspect(photo, aspect), longest_side))[
                    None
                ]
                with torch.inference_mode():
                    expected = network(torch.from_numpy(tensor)).numpy()
                actual = extractor.forward(tensor)
                norms = np.linalg.norm(expected) * np.linalg.norm(actual)
                cosines.append(float((expected * actual).sum() / norms))
                differences.append(float(np.abs(expected - actual).max()))
            rows.append(
                ParityRow(
                    longest_side,
                    name,
                    len(photos),
                    float(np.min(cosines)),
                    float(np.max(differences)),
                )
            )
    bad = [row for row in rows if not row.min_cosine >= MIN_COSINE]  # "not >=": a NaN is bad, too
    if bad:
        raise ParityError(
            f"onnxruntime and torch disagree: cosine {bad[0].min_cosine:.6f}, at least {MIN_COSINE} is needed"
        )
    return rows


def format_table(rows: list[ParityRow]) -> str:
    """The rows as a plain-text table."""
    lines = ["longest side  aspect    photos  min cosine  max difference"]
    for row in rows:
        lines.append(
            f"{row.longest_side:12d}  {row.aspect:8s}  {row.photos:6d}  {row.min_cosine:10.7f}  {row.max_difference:14.1e}"
        )
    return "\n".join(lines)
