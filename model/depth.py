"""A network made deeper or shallower, its own blocks kept."""

from __future__ import annotations

import torch

from .network import BLOCKS, Bottleneck, GeMResNet


def with_depth(network: GeMResNet, architecture: str) -> GeMResNet:
    """A GeMResNet of another depth.

    Blocks come and go at the end of their stage. A new block is a copy of one that was there, so
    it sees what has been learned at its stage; where the first block is the only one, it is random.
    But it begins as the identity: its last convolution, and the bias and mean that follow, are 0,
    and ReLU leaves the non-negative shortcut alone. So a deeper network computes exactly what
    `network` computes, and that convolution can learn at once if batch norms keep the statistics
    they have. A shallower network lacks what its last blocks had learned.

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
        for stage, before in zip(changed.features[4:], BLOCKS[network.architecture]):
            for place, block in enumerate(stage[before:]):
                if before > 1:  # the first block has another shape; the others take turns
                    block.load_state_dict(stage[1 + place % (before - 1)].state_dict())
                for part in (block.conv3.weight, block.bn3.bias, block.bn3.running_mean):
                    part.zero_()
    return changed.train(network.training)


def without_idle_blocks(network: GeMResNet) -> GeMResNet:
    """The shallowest network of BLOCKS that computes exactly what `network` computes.

    Blocks that `with_depth` has added and that have not learned yet cost time and change nothing.

    Args:
        network: stays as it is.
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

    Its branch gives exactly 0, and what comes in has gone through ReLU.
    """
    parts = (block.conv3.weight, block.bn3.bias, block.bn3.running_mean)
    return block.downsample is None and not any(part.any() for part in parts)


def state_with_depth(
    state: dict[str, torch.Tensor], prefix: str, before: str, after: str
) -> dict[str, torch.Tensor]:
    """A state that holds a network, with the network brought to another depth.

    Args:
        state: tensors by name.
        prefix: of the network's names in it.
        before: the network's architecture.
        after: the wanted one.
    """
    held = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    network = GeMResNet(before, len(held["whiten.weight"]))
    network.load_state_dict(held)
    changed = with_depth(network, after).state_dict()
    rest = {k: v for k, v in state.items() if not k.startswith(prefix)}
    return rest | {prefix + k: v for k, v in changed.items()}
