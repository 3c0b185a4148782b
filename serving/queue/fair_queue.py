"""Work that waits, fairly: one address after the other has its turn, among those of one address one
visitor after the other, and a visitor's own work goes in its order.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What waits: whose it is."""

    visitor: str
    address: str


T = TypeVar("T", bound=Waiting)


class FairQueue(Generic[T]):
    """Not thread-safe."""

    def __init__(self) -> None:
        # address -> visitor -> what waits. First come the address and visitor whose turn is next.
        self._queue: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All, in the order in which they will have their turn if nobody else comes."""
        visitors = [_turns([list(t) for t in v.values()]) for v in self._queue.values()]
        return _turns([list(turns) for turns in visitors])

    def add(self, one: T) -> None:
        """Put it behind what waits of the same visitor."""
        visitors = self._queue.setdefault(one.address, OrderedDict())
        visitors.setdefault(one.visitor, deque()).append(one)
        self._size += 1

    def of_visitor(self, one: T) -> int:
        """How many wait of the same visitor at the same address."""
        visitors = self._queue.get(one.address)
        return len(visitors.get(one.visitor, ())) if visitors else 0

    def of_address(self, one: T) -> int:
        """How many wait of the same address."""
        return sum(map(len, self._queue.get(one.address, {}).values()))

    def remove(self, one: T) -> None:
        """Take it out, and leave the order of the others. Raises KeyError, ValueError."""
        visitors = self._queue[one.address]
        visitors[one.visitor].remove(one)
        self._size -= 1
        if not visitors[one.visitor]:
            del visitors[one.visitor]
        if not visitors:
            del self._queue[one.address]

    def pop(self, fits: Callable[[T], bool] = lambda one: True) -> T | None:
        """Take the next one that fits, if it is the first of its visitor; None if there is none.

        Its visitor is the last among those of the address then, and the address the last of all.
        """
        for address, visitors in self._queue.items():
            for visitor, waiting in visitors.items():
                if fits(waiting[0]):
                    one = waiting[0]
                    visitors.move_to_end(visitor)
                    self._queue.move_to_end(address)
                    self.remove(one)
                    return one
        return None


def _turns(queues: list[list[T]]) -> Iterator[T]:
    """One of each queue after the other, until all are empty."""
    missing = object()
    rounds = itertools.zip_longest(*queues, fillvalue=missing)
    return (one for round in rounds for one in round if one is not missing)  # type: ignore[misc]
