"""The optimiser of distillation: Muon for the convolutions, AdamW for everything else.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal one, so that
all of its directions learn alike. A convolution is taken as the matrix of its output channels.
Steps are as large as AdamW's would be (Liu et al. 2025, section 2.2), so both share one rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class MuonAdamW:
    """Steps of both, behind the usual interface.

    Args:
        matrices: convolutions that Muon steps, (O, C, kh, kw) each, in `channels_last`.
        others: parameters that AdamW steps.
        rate: of both.
        weight_decay: of both.

    Raises:
        ValueError: for a convolution in another memory format.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        rate: float,
        weight_decay: float,
    ):
        self.matrices = list(matrices)
        self.rows = [nn.Parameter(as_rows(weight.detach())) for weight in self.matrices]
        # They share the memory of the convolutions: a step of one is a step of the other.
        if any(a.data_ptr() != b.data_ptr() for a, b in zip(self.rows, self.matrices)):
            raise ValueError("convolutions must be in channels_last")
        self.muon = torch.optim.Muon(self.rows, rate, weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW(others, rate, weight_decay=weight_decay, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose "lr" may be set."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.matrices:
            weight.grad = None
        self.adamw.zero_grad()

    def step(self) -> None:
        """One step of all parameters that have a gradient."""
        for rows, weight in zip(self.rows, self.matrices):
            rows.grad = None if weight.grad is None else as_rows(weight.grad)
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])


def as_rows(weight: torch.Tensor) -> torch.Tensor:
    """A convolution (O, C, kh, kw) as (O, kh kw C), in the same memory if in `channels_last`."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
