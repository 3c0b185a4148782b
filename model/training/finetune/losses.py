"""Losses over tuples of unit descriptors: a query, a positive, K negatives.

All functions take queries and positives (B, D) and negatives (B, K, D), and return the sum over the
tuples, a scalar. Sources: Radenovic et al. 2018 (contrastive), Schroff et al. 2015 in the squared
form of cirtorch (triplet), Sohn 2016 (n-tuple), Ng et al. 2020, SOLAR, Eq. 6 (second order).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

DISTANCE_EPS = 1e-6  # added to each component of a difference, as in the published code
ROOT_EPS = 1e-12  # added under the root, whose slope at 0 is infinite

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Euclidean distance over the last axis of two tensors that broadcast: (..., D) -> (...)."""
    return torch.linalg.vector_norm(a - b + DISTANCE_EPS, dim=-1)


def contrastive(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, margin: float
) -> torch.Tensor:
    """Sum of d(q, p)^2 / 2 and of max(0, margin - d(q, n))^2 / 2.

    margin: distance beyond which a negative costs nothing.
    """
    positive_loss = distance(queries, positives).square().sum()
    far = (margin - distance(queries[:, None], negatives)).clamp(min=0).square().sum()
    return 0.5 * (positive_loss + far)


def triplet(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, margin: float
) -> torch.Tensor:
    """Sum over tuples and negatives of max(0, |q - p|^2 - |q - n|^2 + margin).

    margin: margin of squared distances.
    """
    positive_distance = (queries - positives).square().sum(-1)[:, None]
    far = (queries[:, None] - negatives).square().sum(-1)
    return (positive_distance - far + margin).clamp(min=0).sum()


def n_tuple(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Sum over tuples of log(1 + sum over negatives of exp((q.n - q.p) / temperature)).

    temperature: divisor of the cosines.
    """
    positive_logits = (queries * positives).sum(-1)[:, None]
    bad = (queries[:, None] * negatives).sum(-1)
    logits = torch.cat(
        [torch.zeros_like(positive_logits), (bad - positive_logits) / temperature], dim=1
    )
    return torch.logsumexp(logits, dim=1).sum()


def second_order(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Sum over tuples of the root of the sum over negatives of (|q - n|^2 - |p - n|^2)^2.

    It is small if query and positive have the same distances to the negatives. SOLAR's training
    loop also takes one root per tuple: a root over several would depend on how a batch is split.
    """
    from_query = (queries[:, None] - negatives).square().sum(-1)
    from_positive = (positives[:, None] - negatives).square().sum(-1)
    return ((from_query - from_positive).square().sum(-1) + ROOT_EPS).sqrt().sum()


FIRST_ORDER = {"contrastive": contrastive, "triplet": triplet, "n-tuple": n_tuple}


def make_loss(name: str, margin: float, second_order_weight: float = 0.0) -> Loss:
    """A first-order loss, plus weight x `second_order`.

    Args:
        name: name in FIRST_ORDER.
        margin: margin of the loss; temperature for "n-tuple".
        second_order_weight: weight of the second-order term, 0 for none.
    """
    first = FIRST_ORDER[name]

    def loss(
        queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        total = first(queries, positives, negatives, margin)
        if second_order_weight:
            total = total + second_order_weight * second_order(queries, positives, negatives)
        return total

    return loss
