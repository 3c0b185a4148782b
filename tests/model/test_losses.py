"""Losses and their gradients against loops over the equations, finite differences and hand work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from model.training.distill.losses import cosine_loss, instance_loss
from model.training.finetune.losses import (
    FIRST_ORDER,
    contrastive,
    make_loss,
    n_tuple,
    second_order,
    triplet,
)


def unit(*shape: int) -> torch.Tensor:
    """Random unit rows in double precision, with a gradient."""
    x = torch.randn(*shape, dtype=torch.float64)
    return (x / x.norm(dim=-1, keepdim=True)).requires_grad_()


@pytest.fixture
def tuples() -> list[torch.Tensor]:
    """Queries and positives (3, 6), negatives (3, 4, 6), unit, double precision."""
    torch.manual_seed(3)
    return [unit(3, 6), unit(3, 6), unit(3, 4, 6)]


def square(a, b):
    return float(((a - b) ** 2).sum())


def plain_contrastive(q, p, n, margin):
    total = 0.0
    for i in range(len(q)):
        total += 0.5 * square(q[i] + 1e-6, p[i])
        for negative in n[i]:
            total += 0.5 * max(0, margin - math.sqrt(square(q[i] + 1e-6, negative))) ** 2
    return total


def plain_triplet(q, p, n, margin):
    total = 0.0
    for i in range(len(q)):
        for negative in n[i]:
            total += max(0, square(q[i], p[i]) - square(q[i], negative) + margin)
    return total


def plain_n_tuple(q, p, n, temperature):
    total = 0.0
    for i in range(len(q)):
        rivals = [math.exp((q[i] @ negative - q[i] @ p[i]) / temperature) for negative in n[i]]
        total += math.log(1 + sum(rivals))
    return total


def plain_second_order(q, p, n):
    total = 0.0
    for i in range(len(q)):
        squares = [(square(q[i], x) - square(p[i], x)) ** 2 for x in n[i]]
        total += math.sqrt(sum(squares))
    return total


PLAIN = {"contrastive": plain_contrastive, "triplet": plain_triplet, "n-tuple": plain_n_tuple}


@pytest.mark.parametrize(
    "loss, plain, arguments",
    [
        *((contrastive, plain_contrastive, (margin,)) for margin in (0.7, 1.2, 1.6)),
        *((triplet, plain_triplet, (margin,)) for margin in (0.1, 0.5, 1.25)),
        *((n_tuple, plain_n_tuple, (temperature,)) for temperature in (0.1, 0.5, 1.0)),
        (second_order, plain_second_order, ()),
    ],
)
def test_losses_equal_loops_and_their_gradients_finite_differences(tuples, loss, plain, arguments):
    expected = plain(*(x.detach().numpy() for x in tuples), *arguments)
    assert expected > 0
    assert loss(*tuples, *arguments).item() == pytest.approx(expected, rel=1e-9)
    assert gradcheck(lambda *x: loss(*x, *arguments), tuples)


def test_second_order_by_hand():
    """Tuples (2, 1, 0) and (2, 0, 0) on a line: 4 - 1 and 4 - 0, whose roots sum to 3 + 4."""
    queries, positives = torch.tensor([[2.0], [2.0]]), torch.tensor([[1.0], [0.0]])
    negatives = torch.zeros(2, 1, 1)
    assert second_order(queries, positives, negatives).item() == pytest.approx(7)
    # A second negative at 1: (2 - 1)^2 - (1 - 1)^2 and (2 - 1)^2 - (0 - 1)^2.
    negatives = torch.tensor([[[0.0], [1.0]], [[0.0], [1.0]]])
    expected = math.sqrt(9 + 1) + math.sqrt(16 + 0)
    assert second_order(queries, positives, negatives).item() == pytest.approx(expected)


def test_second_order_has_a_gradient_where_it_is_zero():
    x = torch.ones(1, 2, requires_grad=True)
    second_order(x, x, torch.zeros(1, 1, 2)).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("weight", [0.0, 10.0])
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_every_loss_is_a_sum_over_tuples(tuples, name, weight):
    loss = make_loss(name, 0.5, weight)
    plain = PLAIN[name](*(x.detach().numpy() for x in tuples), 0.5)
    plain += weight * plain_second_order(*(x.detach().numpy() for x in tuples))
    assert loss(*tuples).item() == pytest.approx(plain, rel=1e-9)
    for part in (1, 2):
        starts = range(0, 3, part)
        parts = [loss(*(x[start : start + part] for x in tuples)).item() for start in starts]
        assert sum(parts) == pytest.approx(plain, rel=1e-9)


def plain_cosine_loss(descriptors, targets):
    pairs = [(i, j) for i in range(len(targets)) for j in range(len(targets)) if i != j]
    off = [descriptors[i] @ descriptors[j] - targets[i] @ targets[j] for i, j in pairs]
    return sum(x**2 for x in off) / len(pairs)


def test_the_loss_over_pairwise_cosines():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])  # cosines 0, 0.6, 0.8
    b = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # cosines 1, 0, 0
    assert cosine_loss(a, b).item() == pytest.approx((1 + 0.36 + 0.64) / 3)
    assert cosine_loss(a, a).item() == 0
    torch.manual_seed(0)
    x, y = unit(5, 4), unit(5, 3)
    expected = plain_cosine_loss(x.detach().numpy(), y.detach().numpy())
    assert cosine_loss(x, y).item() == pytest.approx(expected, rel=1e-9)
    assert gradcheck(cosine_loss, (x, y))


def plain_instance_loss(x, photos, plain, margin, weight):
    """The mean over tuples: two views of a photo, and at most 4 views of others nearest to one."""
    others = [[k for k in range(len(x)) if photos[k] != photo] for photo in photos]
    count = min(4, min(map(len, others)))
    values = []
    for i in range(len(x)):
        hardest = sorted(others[i], key=lambda k, i=i: -(x[i] @ x[k]))[:count]
        for j in range(len(x)):
            if j != i and photos[j] == photos[i]:
                one = x[[i]], x[[j]], x[None, hardest]
                values.append(plain(*one, margin) + weight * plain_second_order(*one))
    return np.mean(values)


@pytest.mark.parametrize("photos", [[0, 0, 1, 1, 2, 2, 3, 3], [7, 7, 7, 8, 9]])
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_the_loss_over_instances_is_the_mean_over_tuples(name, photos):
    torch.manual_seed(1)
    x = unit(len(photos), 5)
    loss = make_loss(name, 0.8, 3.0)
    expected = plain_instance_loss(x.detach().numpy(), photos, PLAIN[name], 0.8, 3.0)
    value = instance_loss(x, torch.tensor(photos), loss)
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert gradcheck(lambda x: instance_loss(x, torch.tensor(photos), loss), x)


def test_without_two_views_of_a_photo_the_loss_over_instances_is_zero():
    x = unit(3, 5)
    value = instance_loss(x, torch.tensor([7, 8, 9]), make_loss("triplet", 0.5, 1.0))
    assert value.item() == 0
    value.backward()
    assert not x.grad.any()
