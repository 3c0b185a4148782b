"""Descriptors of training photos by a torch network, and their mAP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from evaluation.datasets.groups import BadGroups, check_groups, load_groups
from evaluation.metrics import mean_average_precision
from model.network import GeMResNet
from model.provenance import Provenance

from ..device.feed import DeviceFeed
from .config import BadConfig
from .photos import PLAIN, Feed, Photos, View
from .precision import autocast
from .settings import Validation

BATCH = 32


def describe(network: GeMResNet, images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Descriptors of images. Images of equal shape form one batch; the trunk uses `trunk_type`.

    Args:
        network: network, on any device.
        images: B normalised images, float32 (3, h, w) each.

    Returns:
        Float32 (B, D), unit norm.
    """
    device = next(network.parameters()).device
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        by_shape[image.shape].append(i)
    parts, order = [], []
    for rows in by_shape.values():
        batch = torch.stack([images[i] for i in rows]).to(device, memory_format=torch.channels_last)
        with autocast(device.type):
            maps = network.maps(batch)
        parts.append(network.head(maps.float()))  # powers and norms need float32
        order += rows
    return torch.cat(parts)[torch.tensor(order, device=device).argsort()]


@torch.inference_mode()
def describe_all(
    network: GeMResNet, feed: Feed | DeviceFeed, views: Sequence[View], label: str
) -> np.ndarray:
    """Descriptors of many views.

    Args:
        network: network, on any device.
        feed: source of the views.
        views: N views.
        label: label of the progress bar.

    Returns:
        Float32 (N, D), unit norm.
    """
    batches = [views[start : start + BATCH] for start in range(0, len(views), BATCH)]
    parts = [
        describe(network, images).float().cpu().numpy()
        for images in tqdm(feed(batches), total=len(batches), desc=label, leave=False, disable=None)
    ]
    return np.concatenate(parts)


def read_validation(validation: Validation) -> tuple[list[Path], list[list[int]]]:
    """Files and groups for validation.

    Args:
        validation: folder of the photos, and JSON file of the groups.

    Returns:
        The photos, and for each group the indices of its photos.

    Raises:
        BadConfig: photos or groups cannot be read, or a group names a missing photo.
    """
    try:
        files = sorted(p for p in validation.photos.iterdir() if p.is_file())
        number = {path.name: i for i, path in enumerate(files)}
        groups = load_groups(validation.groups)
        check_groups(groups, list(number), str(validation.photos))
    except (OSError, BadGroups) as error:
        raise BadConfig(f"validation cannot be read: {error}") from None
    return files, [[number[file] for file in members] for members in groups.values()]


def validate(network: GeMResNet, provenance: Provenance, validation: Validation) -> float:
    """mAP of a network at its checkpoint's own size.

    Args:
        network: network in evaluation mode.
        provenance: provenance of its checkpoint.
        validation: photos and groups. Photos without a group are part of the searched gallery.

    Returns:
        The mean over groups of the mean average precision of their photos as queries.

    Raises:
        BadConfig: the photos or groups cannot be read.
    """
    files, groups = read_validation(validation)
    feed = Feed(Photos(files, provenance, provenance.longest_side))
    views = [(i, PLAIN, 0) for i in range(len(files))]
    return mean_average_precision(describe_all(network, feed, views, "validation"), groups)
