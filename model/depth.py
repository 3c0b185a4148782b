"""A network made deeper or shallower, its own blocks kept."""

from __future__ import annotations

import torch

from .network import BLOCKS, GeMResNet


def with_depth(network: GeMResNet, architecture: str) -> GeMResNet:
    """A GeMResNet of another depth.

    Blocks come and go at the end of their stage. A new block begins as the identity: the last
    BatchNorm of its branch has weight and bias 0, and ReLU leaves the non-negative shortcut alone.
    So a deeper network computes exactly what `network` computes. All other parameters of a new
    block start at random and can learn. A shallower network lacks what its last blocks had learned.

    Args:
        network: stays as it is.
        architecture: one of BLOCKS.
    """
    changed = GeMResNet(
        architecture,
        None if network.whiten is None else network.output_dim,
        network.soa4 is not None,
    )
    known = changed.state_dict().keys()
    kept = {name: value for name, value in network.state_dict().items() if name in known}
    changed.load_state_dict(kept, strict=False)
    with torch.no_grad():
        for stage, before in zip(range(4, 8), BLOCKS[network.architecture]):
            for block in changed.features[stage][before:]:
                block.bn3.weight.zero_()
                block.bn3.bias.zero_()
    return changed.train(network.training)
