"""Convolutions that learn faster on processors: the gradient of the weights as one matrix product.

In bfloat16, oneDNN computes this gradient of a 3x3 convolution on small maps about twenty times
slower than a product of matrices of the same size. The forward pass and the gradient of the input
stay its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

# Larger maps gain nothing: there the library's own 3x3 gradient is as fast as the product.
MOST_POSITIONS = 128  # of a 3x3 convolution's output map, height times width


class _Convolution(torch.autograd.Function):
    """A convolution without bias or groups, whose weight gradient is a matrix product."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: tuple, padding: tuple
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        found = gradients(gradient, x, weight, ctx.stride, ctx.padding, ctx.needs_input_grad[0])
        return *found, None, None


def gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    needs_x: bool,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The gradients of a convolution's input, if it is needed, and weights, each the faster way.

    Args:
        gradient: of the output, (B, O, h, w).
        x: the input, (B, C, H, W).
        weight: (O, C, kh, kw).
        stride, padding: of the convolution, (vertical, horizontal).
        needs_x: whether the input's is needed.

    Returns:
        Like x, or None; and like weight.
    """
    pointwise = weight.shape[2:] == (1, 1)
    quick = pointwise or gradient.shape[2] * gradient.shape[3] <= MOST_POSITIONS
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        *(gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1),
        (needs_x, not quick, False),
    )
    if quick:
        grad_weight = weight_gradient(gradient, x, weight.shape, stride, padding)
    return grad_x, grad_weight


def weight_gradient(
    gradient: torch.Tensor,
    x: torch.Tensor,
    shape: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> torch.Tensor:
    """The gradient of a convolution's weights.

    Args:
        gradient: of the output, (B, O, h, w).
        x: the input, (B, C, H, W).
        shape: of the weights, (O, C, kh, kw).
        stride: of the convolution, (vertical, horizontal).
        padding: of the convolution, (vertical, horizontal).

    Returns:
        (O, C, kh, kw), of the type of `gradient`.
    """
    outputs, channels, kh, kw = shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)  # (B h w, O)
    seen = x.permute(0, 2, 3, 1)
    if any(padding):  # a pad of nothing would still be a copy
        seen = F.pad(seen, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    windows = seen.unfold(1, kh, stride[0]).unfold(2, kw, stride[1])  # (B, h, w, C, kh, kw)
    columns = windows.permute(0, 1, 2, 4, 5, 3).reshape(len(rows), -1)  # (B h w, kh kw C)
    return (rows.T @ columns).view(outputs, kh, kw, channels).permute(0, 3, 1, 2)


class QuickConv2d(nn.Conv2d):
    """`nn.Conv2d` without bias whose weights learn by a matrix product where that is faster."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, O, h, w), in the type of autocast where that is on."""
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)
        if not torch.is_grad_enabled():
            return F.conv2d(input, weight, None, self.stride, self.padding)
        return _Convolution.apply(input, weight, self.stride, self.padding)


def quicken(network: nn.Module) -> None:
    """Turn each plain convolution of a network into a `QuickConv2d`; parameters stay the same."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.bias is None and module.groups == 1:
            module.__class__ = QuickConv2d
