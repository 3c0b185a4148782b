"""A fair queue: round-robin over addresses, within an address over visitors, FIFO per visitor."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """The owner of a queued item."""

    visitor: str
    address: str


T = TypeVar("T", bound=Waiting)


class FairQueue(Generic[T]):
    """A fair queue, see above. Not thread-safe."""

    def __init__(self) -> None:
        # address -> visitor -> items. The address and visitor whose turn is next come first.
        self._queue: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All items, in the order in which they will be popped if no others are added."""
        visitors = [_turns([list(t) for t in v.values()]) for v in self._queue.values()]
        return _turns([list(turns) for turns in visitors])

    def add(self, one: T) -> None:
        """Append an item behind those of the same visitor."""
        visitors = self._queue.setdefault(one.address, OrderedDict())
        visitors.setdefault(one.visitor, deque()).append(one)
        self._size += 1

    def of_visitor(self, one: T) -> int:
        """Number of items of the same visitor at the same address."""
        visitors = self._queue.get(one.address)
        return len(visitors.get(one.visitor, ())) if visitors else 0

    def of_address(self, one: T) -> int:
        """Number of items of the same address."""
        return sum(map(len, self._queue.get(one.address, {}).values()))

    def remove(self, one: T) -> None:
        """Remove an item; the order of the others stays. Raises KeyError, ValueError."""
        visitors = self._queue[one.address]
        visitors[one.visitor].remove(one)
        self._size -= 1
        if not visitors[one.visitor]:
            del visitors[one.visitor]
        if not visitors:
            del self._queue[one.address]

    def pop(self, fits: Callable[[T], bool] = lambda one: True) -> T | None:
        """Pop the next item that fits, only the first of each visitor considered; None without one.

        The visitor then moves to the end of the address's visitors, and the address to the end.
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
    """One item of each queue in turn, until all are empty."""
    missing = object()
    rounds = itertools.zip_longest(*queues, fillvalue=missing)
    return (one for round in rounds for one in round if one is not missing)  # type: ignore[misc]
