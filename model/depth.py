"""Change the depth of a network, keeping its blocks."""

from __future__ import annotations

import torch

from .network import BLOCKS, Bottleneck, GeMResNet


def with_depth(network: GeMResNet, architecture: str) -> GeMResNet:
    """A GeMResNet with another depth.

    Blocks are added and removed at the end of their stage. A new block is a copy of an existing
    one, so it starts from what was learned at its stage; if the first block is the only one, it is
    random. It starts as the identity, though: its last convolution, and the bias and mean that
    follow, are 0, and ReLU leaves the non-negative shortcut unchanged. So a deeper network computes
    exactly what `network` computes, and that convolution can learn immediately if batch norms keep
    their statistics. A shallower network lacks what its last blocks had learned.

    Args:
        network: original network, which is not changed.
        architecture: name in BLOCKS.
    """
    changed = GeMResNet(
        architecture,
        None if network.whiten is None else network.output_dim,
        network.soa4 is not None,
    )
    expected = changed.state_dict().keys()
    shared = {name: value for name, value in network.state_dict().items() if name in expected}
    changed.load_state_dict(shared, strict=False)
    with torch.no_grad():
        for stage, before in zip(changed.features[4:], BLOCKS[network.architecture]):
            for position, block in enumerate(stage[before:]):
                if before > 1:  # the first block has another shape; cycle through the others
                    block.load_state_dict(stage[1 + position % (before - 1)].state_dict())
                for part in (block.conv3.weight, block.bn3.bias, block.bn3.running_mean):
                    part.zero_()
    return changed.train(network.training)


def without_idle_blocks(network: GeMResNet) -> GeMResNet:
    """The shallowest network of BLOCKS that computes exactly what `network` computes.

    Blocks that `with_depth` has added and that have not learned yet take time but change nothing.

    Args:
        network: original network, which is not changed.
    """
    stages = network.features[4:]
    for architecture in sorted(BLOCKS, key=lambda name: sum(BLOCKS[name])):
        pairs = list(zip(stages, BLOCKS[architecture]))
        is_shorter = all(count <= len(stage) for stage, count in pairs)
        if is_shorter and all(is_idle(block) for stage, n in pairs for block in stage[n:]):
            return with_depth(network, architecture)
    return network


def is_idle(block: Bottleneck) -> bool:
    """Whether a block without a convolution in its shortcut is the identity.

    Its branch outputs exactly 0, and its input is non-negative after ReLU.
    """
    parts = (block.conv3.weight, block.bn3.bias, block.bn3.running_mean)
    return block.downsample is None and not any(part.any() for part in parts)


def state_with_depth(
    state: dict[str, torch.Tensor], prefix: str, before: str, after: str
) -> dict[str, torch.Tensor]:
    """Change the depth of a network inside a larger state.

    Args:
        state: tensors by name.
        prefix: prefix of the network's tensors.
        before: current architecture of the network.
        after: target architecture.
    """
    held = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    network = GeMResNet(before, len(held["whiten.weight"]))
    network.load_state_dict(held)
    changed = with_depth(network, after).state_dict()
    others = {k: v for k, v in state.items() if not k.startswith(prefix)}
    return others | {prefix + k: v for k, v in changed.items()}
