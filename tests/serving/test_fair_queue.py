"""Whose turn is next, against a slow restatement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.queue.fair_queue import FairQueue


@dataclass(eq=False)
class Asked:
    address: str
    visitor: str
    quick: bool = False


def test_turns_go_round_addresses_then_visitors():
    queue: FairQueue[Asked] = FairQueue()
    asked = [Asked(*pair) for pair in ("Aa", "Aa", "Ab", "Bc", "Bc", "Aa")]
    for one in asked:
        queue.add(one)
    assert len(queue) == 6 and queue.of_address(asked[0]) == 4 and queue.of_visitor(asked[0]) == 3
    order = list(queue)
    assert [asked.index(one) for one in order] == [0, 3, 2, 4, 1, 5]
    assert [queue.pop() for _ in order] == order
    assert queue.pop() is None and len(queue) == 0 and list(queue) == []
    assert queue.of_address(asked[0]) == queue.of_visitor(asked[0]) == 0


def test_it_says_beforehand_whose_turn_it_will_be(rng: np.random.Generator):
    queue: FairQueue[Asked] = FairQueue()
    held: list[Asked] = []
    for _ in range(400):
        if held and rng.random() < 0.45:
            expected = next(iter(queue))
            if rng.random() < 0.3:
                expected = held[rng.integers(len(held))]
                queue.remove(expected)
            else:
                assert queue.pop() is expected
            held.remove(expected)
        else:
            one = Asked("ABC"[rng.integers(3)], "xyz"[rng.integers(3)])
            queue.add(one)
            held.append(one)
        assert len(queue) == len(held) and set(queue) == set(held)


def test_what_does_not_fit_stays_and_so_does_what_is_behind_it():
    queue: FairQueue[Asked] = FairQueue()
    slow, behind, other = Asked("A", "a"), Asked("A", "a", True), Asked("A", "b", True)
    for one in (slow, behind, other):
        queue.add(one)
    assert queue.pop(lambda one: one.quick) is other
    assert queue.pop(lambda one: one.quick) is None, "a visitor's own work goes in its order"
    assert [queue.pop(), queue.pop(lambda one: one.quick)] == [slow, behind]
