"""Registry of published networks: `published.json` has their URLs and published results.

Nothing is downloaded unless it is requested by name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from download import DOWNLOADS, SHA256_DIGITS, DownloadFailed, Remote, download

CHECKPOINT, TORCHSCRIPT, TIMM = "checkpoint", "torchscript", "timm"
TIMM_PREFIX = "timm:"  # prefix for any network of timm
NETWORKS = DOWNLOADS / "networks"
LISTED_SETS = (("roxford5k", "ROxf"), ("rparis6k", "RPar"))

Results = dict[str, dict[str, dict[str, float]]]
"""Data set -> setup -> metric -> value in percent."""


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
        url: URL of its file, or "timm:NAME" for one that timm downloads.
        sha256: leading digits of the file's SHA-256 as published, "" without any.
        kind: "checkpoint" (of a GeM-ResNet or its trunk), "torchscript", or "timm".
        licence: licence of the weights.
        side: longest side in pixels to which photos are shrunk.
        scales: scales of its published table.
        whitening: description of its whitening, for readers.
        source: repository, and the table there with the `results`.
        results: figures published by its authors.
    """

    url: str
    sha256: str
    kind: str
    licence: str
    side: int
    scales: tuple[float, ...]
    whitening: str
    source: str
    results: Results


def read_published() -> dict[str, Published]:
    """Read published.json: name -> network."""
    table = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    return {
        name: Published(**{**facts, "scales": tuple(facts["scales"])})
        for name, facts in table.items()
    }


PUBLISHED = read_published()


def published(name: str) -> Published:
    """A published network by name. Raises DownloadFailed for an unknown name."""
    if name not in PUBLISHED:
        raise DownloadFailed(
            f"There is no published network {name!r}. The names are {', '.join(PUBLISHED)}, and "
            f"{TIMM_PREFIX}NAME for any network of timm."
        )
    return PUBLISHED[name]


def format_list() -> str:
    """All published networks as a plain-text table."""
    head = ("name", "SHA-256", "side", "scales", "whitening", "ROxf M/H", "RPar M/H", "licence")
    rows = [head]
    for name, net in PUBLISHED.items():
        scales = " ".join(f"{scale:.3g}" for scale in net.scales)
        mean_aps = [medium_hard(net.results.get(dataset, {})) for dataset, _ in LISTED_SETS]
        digits = net.sha256 or "-"
        rows.append((name, digits, str(net.side), scales, net.whitening, *mean_aps, net.licence))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row, net in zip(rows, (None, *PUBLISHED.values())):
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        lines.append("  ".join(cells).rstrip())
        if net is not None:
            lines.append(f"{'':{widths[0]}s}  {net.url}")
    lines.append(
        f"{TIMM_PREFIX}NAME".ljust(widths[0]) + "  any network of timm, if timm is installed"
    )
    return "\n".join(lines)


def medium_hard(results: dict[str, dict[str, float]]) -> str:
    """Published mAP of the setups Medium and Hard as "M/H", "-" if there is none."""
    found = [results.get(setup, {}).get("mAP") for setup in ("Medium", "Hard")]
    return (
        "/".join("-" if value is None else f"{value:.1f}" for value in found) if any(found) else "-"
    )


def fetch_network(
    name: str, mirrors: Sequence[str] = (), folder: Path = NETWORKS, sha256: str = ""
) -> Path:
    """Download the file of a published network, unless it exists, and verify its digest.

    Loading a TorchScript file runs its code, so one is only downloaded with a full SHA-256. A file
    without any digest is only downloaded from its published address.

    Args:
        name: name of a network in PUBLISHED that is a file.
        mirrors: URLs that are tried before the published one.
        folder: folder for the file. An existing TorchScript file there is used.
        sha256: full digest of the file, "" for the published digits.

    Returns:
        Its path.

    Raises:
        DownloadFailed: the name is unknown, the file cannot be fetched or has the wrong checksum,
            or it is a TorchScript file without a known digest.
        OSError: the file cannot be written.
    """
    net = published(name)
    path = folder / f"{name}{'.pt' if net.kind == TORCHSCRIPT else '.pth'}"
    if sha256 and not sha256.startswith(net.sha256):
        raise DownloadFailed(f"The SHA-256 of {name} begins with {net.sha256}, not {sha256[:16]}…")
    digest = sha256 or net.sha256
    if net.kind == TORCHSCRIPT and len(digest) < SHA256_DIGITS and not path.exists():
        raise DownloadFailed(
            f"{name} is a TorchScript file, which runs code when it is loaded, and its publisher "
            f"gives no SHA-256. Pass the digest of a file that you trust (--sha256 DIGEST), or "
            f"download {net.url} yourself, check it, and put it at {path}."
        )
    remote = Remote(net.url, digest)
    return download(remote, path, mirrors if digest else (), folder / "pins.json")
