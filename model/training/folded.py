"""A trunk that learns while its batch statistics stay: each batch norm folded into its convolution.

A student that begins from trained weights keeps their statistics, as in cirtorch. Then a
convolution, its batch norm, the shortcut and ReLU are one call of oneDNN, and nothing is left of a
batch norm in the gradient but a factor and a sum. The parameters are the network's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..network import Bottleneck, GeMResNet
from .convolution import gradients

_fused = torch.ops.mkldnn._convolution_pointwise


class _Folded(torch.autograd.Function):
    """A convolution with bias, plus a shortcut if there is one, then ReLU if it is wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        shortcut: torch.Tensor | None,
        relu: bool,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> torch.Tensor:
        geometry = (weight, bias, padding, stride, (1, 1), 1)
        if shortcut is None:
            y = _fused(x, *geometry, "relu" if relu else "none", [], "")
        else:
            y = _fused.binary(x, shortcut, *geometry, "add", 1.0, "relu" if relu else None, [], "")
        ctx.save_for_backward(x, weight, y if relu else None)
        ctx.stride, ctx.padding, ctx.has_shortcut = stride, padding, shortcut is not None
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        if y is not None:
            gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        found = gradients(gradient, x, weight, ctx.stride, ctx.padding, ctx.needs_input_grad[0])
        grad_bias = gradient.sum((0, 2, 3))
        grad_shortcut = gradient if ctx.has_shortcut else None
        return *found, grad_bias, grad_shortcut, None, None, None


def convolve(
    convolution: nn.Conv2d,
    norm: nn.BatchNorm2d,
    x: torch.Tensor,
    shortcut: torch.Tensor | None = None,
    relu: bool = True,
) -> torch.Tensor:
    """A convolution and its batch norm at fixed statistics, in the type of x.

    Args:
        convolution: without bias or groups.
        norm: that follows it.
        x: (B, C, H, W).
        shortcut: (B, O, h, w), added before ReLU.
        relu: whether negative values become 0.

    Returns:
        (B, O, h, w).
    """
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (convolution.weight * scale[:, None, None, None]).to(x.dtype)
    bias = (norm.bias - norm.running_mean * scale).to(x.dtype)
    return _Folded.apply(x, weight, bias, shortcut, relu, convolution.stride, convolution.padding)


def bottleneck(block: Bottleneck, x: torch.Tensor) -> torch.Tensor:
    """A block of the trunk at fixed statistics, (B, C, H, W) -> (B, O, h, w)."""
    shortcut = x
    if block.downsample is not None:
        shortcut = convolve(block.downsample[0], block.downsample[1], x, relu=False)
    y = convolve(block.conv1, block.bn1, x)
    y = convolve(block.conv2, block.bn2, y)
    return convolve(block.conv3, block.bn3, y, shortcut)


def folded_maps(network: GeMResNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The maps after layer1 to layer4, strides 4, 8, 16, 32, at fixed statistics.

    Args:
        network: its statistics are used in training mode, too.
        x: photos, (B, 3, H, W), of the type that is computed in.

    Returns:
        (B, C, h, w) each, of that type.
    """
    features = network.features
    x = features[3](convolve(features[0], features[1], x))
    maps = []
    for stage in features[4:]:
        for block in stage:
            x = bottleneck(block, x)
        maps.append(x)
    return maps
