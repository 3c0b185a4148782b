"""Provenance of a checkpoint: preprocessing, training and licence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .checkpoints.state import BadCheckpoint
from .whitening import Whitening

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PUBLISHED_SIDE = 1024  # longest side in pixels in all published tables
# Scales of the published tables: of networks with a whitening layer (and SOLAR), and of networks
# with a whitening learned after training.
SCALES_WHITENED = (1.0, 2**0.5, 2**-0.5)
SCALES_LW = (1.0, 2**-0.5, 0.5)


@dataclass(frozen=True)
class Provenance:
    """Preprocessing, training and licence of a checkpoint.

    Attributes:
        longest_side: size in pixels to which photos are shrunk.
        mean, std: mean and standard deviation for normalising RGB in 0 to 1.
        training: description of the training, for readers.
        licence: licence of the weights.
        published_scales: scales of the network's published table.
        learned_whitening: whitenings learned after training, on descriptors of one scale ("ss") and
            of several ("ms"). Empty for most networks.
    """

    longest_side: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    training: str = "unknown"
    licence: str = "unknown"
    published_scales: tuple[float, ...] = (1.0,)
    learned_whitening: dict[str, Whitening] = field(default_factory=dict)


def three_numbers(values: Any, name: str, positive: bool = False) -> tuple[float, ...]:
    """Parse a mean or standard deviation of RGB.

    Args:
        values: sequence of three numbers or numerals.
        name: name for the error message.
        positive: whether the numbers must be above 0.

    Raises:
        BadCheckpoint: the values are not three finite numbers.
    """
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != 3 or not all(map(math.isfinite, found)) or positive and min(found) <= 0:
        raise BadCheckpoint(f"its {name} is not three {'positive ' * positive}numbers")
    return found
