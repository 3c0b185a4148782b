"""Fetch, verify and prepare a published network for export, by name."""

from __future__ import annotations

import argparse
from pathlib import Path

from download import DownloadFailed, named_mirrors
from model.checkpoints.published import (
    CHECKPOINT,
    TIMM,
    TIMM_PREFIX,
    TORCHSCRIPT,
    fetch_network,
    published,
)

from .hub import TOKENS, VECTOR, HubNetwork, read_timm, read_torchscript, write_backbone

MAP_EXPONENT, TOKENS_EXPONENT = 3.0, 1.0  # GeM's usual initial value; the mean, as tokens have
# negative values


def prepare(args: argparse.Namespace, folder: Path) -> None:
    """Set the arguments of `--checkpoint` or `--backbone` for the network `args.name`.

    Args:
        args: arguments of the command line, changed in place.
        folder: folder for a temporary file that the command needs.

    Raises:
        DownloadFailed, BadBackbone, ParityError, OSError: raised by fetching and tracing.
    """
    is_of_timm = args.name.startswith(TIMM_PREFIX) or published(args.name).kind == TIMM
    if args.sha256 and is_of_timm:
        raise DownloadFailed(f"timm downloads {args.name} itself: --sha256 is for other networks.")
    if args.name.startswith(TIMM_PREFIX):
        hub = read_timm(args.name.removeprefix(TIMM_PREFIX), args.longest_side)
        return use_backbone(args, hub, folder)
    net = published(args.name)
    args.licence = args.licence or net.licence
    if net.kind == CHECKPOINT:
        args.checkpoint = fetch(args)
        return None
    side = args.longest_side or net.side
    if net.kind == TORCHSCRIPT:
        hub = read_torchscript(fetch(args), side, net.licence)
    else:
        hub = read_timm(net.url.removeprefix(TIMM_PREFIX), side)
    return use_backbone(args, hub, folder)


def fetch(args: argparse.Namespace) -> Path:
    """`fetch_network` with the arguments of the command line."""
    return fetch_network(args.name, named_mirrors(args.mirror), sha256=args.sha256 or "")


def use_backbone(args: argparse.Namespace, hub: HubNetwork, folder: Path) -> None:
    """As `prepare`, for a network that is traced into a backbone file."""
    args.backbone = folder / f"{args.name.replace(':', '-').replace('/', '-')}.onnx"
    args.map = write_backbone(hub, args.backbone)
    args.mean, args.std, args.longest_side = hub.mean, hub.std, hub.side
    args.licence = args.licence or hub.licence
    if args.p is None and args.map != VECTOR:
        args.p = TOKENS_EXPONENT if args.map == TOKENS else MAP_EXPONENT
