"""Optimiser of distillation: Muon for the convolutions, AdamW for everything else.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal one, so that
all of its directions learn at the same speed. A convolution is treated as the matrix of its output
channels. Steps are as large as AdamW's would be (Liu et al. 2025, section 2.2), so both share one
rate.

`torch.optim.Muon` always uses bfloat16, which takes minutes per step on a processor without it.
This implementation uses `trunk_type`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..common.precision import trunk_type

MOMENTUM = 0.95  # decay of the gradients' moving average per step
QUINTIC = (3.4445, -4.7750, 2.0315)  # a x + b x^3 + c x^5 moves singular values towards 1
ITERATIONS = 5
AS_ADAMW = 0.2  # root mean square of AdamW's usual step (Liu et al. 2025)
SMALLEST = 1e-7  # minimum norm in the normalisation


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """An approximation of the nearest matrix with orthogonal rows or columns (Newton-Schulz).

    Args:
        matrix: (M, N).

    Returns:
        (M, N) in `trunk_type`, with singular values of about 0.7 to 1.2.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(trunk_type(matrix.device.type))
    x = x / x.norm().clamp(min=SMALLEST)  # so that no singular value is above 1
    for _ in range(ITERATIONS):
        squares = x @ x.T
        x = torch.addmm(x, torch.addmm(squares, squares, squares, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonal steps.

    Args:
        convolutions: (O, C, kh, kw) each.
        rate: learning rate.
        weight_decay: decay of weights per step, as a multiple of the rate.
    """

    def __init__(self, convolutions: Sequence[nn.Parameter], rate: float, weight_decay: float):
        super().__init__(convolutions, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each convolution that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                update = weight.grad.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's
                length = AS_ADAMW * max(update.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(orthogonal(update).view_as(weight), alpha=group["lr"] * length)


class MuonAdamW:
    """Both optimisers behind the usual interface.

    Args:
        convolutions: parameters for Muon, (O, C, kh, kw) each.
        others: parameters for AdamW.
        rate: learning rate of both.
        weight_decay: weight decay of both.
    """

    def __init__(
        self,
        convolutions: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        rate: float,
        weight_decay: float,
    ):
        self.muon = Muon(convolutions, rate, weight_decay)
        self.adamw = torch.optim.AdamW(others, rate, weight_decay=weight_decay, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose "lr" may be set."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.muon.zero_grad()
        self.adamw.zero_grad()

    def step(self) -> None:
        """One step of all parameters that have a gradient."""
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
