"""A network grown deeper by blocks that begin as the identity, and cut again."""

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


def cut(network: GeMResNet, architecture: str) -> GeMResNet:
    """A shallower GeMResNet: the last blocks of the stages are left out, the others kept.

    Where these were grown and have hardly learned, it computes nearly the same in less time.

    Raises:
        ValueError: it is not shallower everywhere.
    """
    large, small = BLOCKS[network.architecture], BLOCKS[architecture]
    if any(s > n for s, n in zip(small, large)):
        raise ValueError(f"{network.architecture} has fewer blocks in a stage than {architecture}")
    shallow = GeMResNet(
        architecture,
        None if network.whiten is None else network.output_dim,
        network.soa4 is not None,
    )
    state = network.state_dict()
    shallow.load_state_dict({name: state[name] for name in shallow.state_dict()})
    return shallow.train(network.training)
