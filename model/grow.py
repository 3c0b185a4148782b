"""A shallower network grown into a deeper one by blocks that begin as the identity."""

from __future__ import annotations

import torch

from .network import BLOCKS, GeMResNet


def grow(network: GeMResNet, architecture: str) -> GeMResNet:
    """A deeper GeMResNet that computes exactly what `network` computes.

    New blocks stand at the end of their stage. The last BatchNorm of each has weight and bias 0, so
    its branch adds nothing, and ReLU leaves the non-negative shortcut alone. All other parameters
    of theirs start at random and can learn.

    Raises:
        ValueError: it is not deeper everywhere.
    """
    small, large = BLOCKS[network.architecture], BLOCKS[architecture]
    if any(s > n for s, n in zip(small, large)):
        raise ValueError(f"{network.architecture} has more blocks in a stage than {architecture}")
    grown = GeMResNet(
        architecture,
        None if network.whiten is None else network.output_dim,
        network.soa4 is not None,
    )
    grown.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        for stage, before, after in zip(range(4, 8), small, large):
            for block in grown.features[stage][before:after]:
                block.bn3.weight.zero_()
                block.bn3.bias.zero_()
    return grown.train(network.training)
