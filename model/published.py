"""The published GeM-ResNets: where they lie, how they were measured, how good they are.

Nothing here is downloaded unasked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .provenance import SCALES_LW, SCALES_WHITENED

CIRTORCH = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/networks"
TORCHVISION = "https://download.pytorch.org/models"
IMPERIAL = "https://imperialcollegelondon.box.com/shared/static"


@dataclass(frozen=True)
class Published:
    """One net.

    Attributes:
        address: of its file.
        sha256: the first digits of the file's digest that its publisher gives, "" if none.
        scales: of its published table.
        whitening: "inside" the net, "Lw" (learned afterwards, stored with it), or "none".
        map: as published by its authors, in percent, or None: revisited Oxford Medium and Hard,
            Paris Medium and Hard.
    """

    address: str
    sha256: str
    scales: tuple[float, ...]
    whitening: str
    map: tuple[float, float, float, float] | None = None

    @property
    def msp(self) -> str:
        """Power of the mean over scales: the net's p if it is not whitened inside, else 1."""
        return "p" if self.whitening != "inside" and len(self.scales) > 1 else "1"


def _cirtorch(path: str, whitening: str, map: tuple[float, float, float, float]) -> Published:
    scales = SCALES_WHITENED if whitening == "inside" else SCALES_LW
    return Published(
        f"{CIRTORCH}/{path}", path.removesuffix(".pth").rsplit("-", 1)[1], scales, whitening, map
    )


def _torchvision(file: str) -> Published:
    return Published(
        f"{TORCHVISION}/{file}", file.removesuffix(".pth").rsplit("-", 1)[1], (1.0,), "none"
    )


_GL18, _SFM = "gl18/gl18-tl", "retrieval-SfM-120k/rSfM120k-tl"
PUBLISHED = {
    "gl18-resnet50-gem-w": _cirtorch(
        f"{_GL18}-resnet50-gem-w-83fdc30.pth", "inside", (63.6, 40.9, 78.0, 57.5)
    ),
    "gl18-resnet101-gem-w": _cirtorch(
        f"{_GL18}-resnet101-gem-w-a4d43db.pth", "inside", (67.3, 44.3, 80.6, 61.5)
    ),
    "gl18-resnet152-gem-w": _cirtorch(
        f"{_GL18}-resnet152-gem-w-21278d5.pth", "inside", (68.7, 44.2, 79.7, 60.3)
    ),
    "sfm120k-resnet50-gem-w": _cirtorch(
        f"{_SFM}-resnet50-gem-w-97bf910.pth", "inside", (64.7, 39.0, 76.3, 54.9)
    ),
    "sfm120k-resnet101-gem-w": _cirtorch(
        f"{_SFM}-resnet101-gem-w-a155e54.pth", "inside", (67.8, 41.7, 77.6, 56.3)
    ),
    "sfm120k-resnet152-gem-w": _cirtorch(
        f"{_SFM}-resnet152-gem-w-f39cada.pth", "inside", (68.8, 41.3, 78.0, 57.2)
    ),
    "sfm120k-resnet101-gem": _cirtorch(
        "retrieval-SfM-120k/retrievalSfM120k-resnet101-gem-b80fb85.pth",
        "Lw",
        (65.4, 40.1, 76.7, 55.2),
    ),
    "solar-resnet101": Published(
        f"{IMPERIAL}/fznpeayct6btel2og2wjjgvqw0ziqnk4.pth",
        "",
        SCALES_WHITENED,
        "inside",
        (69.9, 47.91, 81.57, 64.45),
    ),
    "imagenet-resnet101": _torchvision("resnet101-63fe2227.pth"),
    "imagenet-resnet101-v2": _torchvision("resnet101-cd907fc2.pth"),
}


class DownloadFailed(Exception):
    """The file could not be fetched or is not the published one; the message is one sentence."""


def format_list() -> str:
    """All published nets as a plain-text table."""
    lines = [
        f"{'name':24s} {'SHA-256':9s} {'scales':17s} {'msp':3s} {'whitening':9s} {'ROxf M/H':11s} "
        f"RPar M/H"
    ]
    for name, net in PUBLISHED.items():
        scales = " ".join(f"{s:.3g}" for s in net.scales)
        roxf, rpar = (f"{net.map[i]:.1f}/{net.map[i + 1]:.1f}" if net.map else "-" for i in (0, 2))
        lines.append(
            f"{name:24s} {net.sha256 or '-':9s} {scales:17s} {net.msp:3s} {net.whitening:9s} "
            f"{roxf:11s} {rpar}\n"
            f"{'':24s} {net.address}"
        )
    return "\n".join(lines)


def download(name: str, folder: str | Path) -> Path:
    """Fetch a published net, once, and compare its SHA-256 with the published digits.

    Args:
        name: one of PUBLISHED.
        folder: gets the file.

    Returns:
        Its path.

    Raises:
        DownloadFailed: the name is unknown, there is no connection, or it is another file.
    """
    import pooch  # only here: everything else works without it

    if name not in PUBLISHED:
        raise DownloadFailed(
            f"there is no published net {name!r}; the names are {', '.join(PUBLISHED)}"
        )
    net = PUBLISHED[name]
    try:
        path = Path(
            pooch.retrieve(
                net.address, known_hash=None, fname=f"{name}.pth", path=folder, progressbar=True
            )
        )
    except Exception as error:  # requests, urllib3, OS: all mean the same to the person
        raise DownloadFailed(
            f"{net.address} cannot be reached ({type(error).__name__}). Fetch it on another "
            f"machine, then run: "
            f"python -m export --checkpoint FILE --out MODEL.onnx"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(net.sha256):
        path.unlink()
        raise DownloadFailed(
            f"{net.address} is not the published file: SHA-256 {digest[:12]}…, not {net.sha256}…"
        )
    return path
