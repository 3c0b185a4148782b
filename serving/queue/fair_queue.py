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

    def add(self, item: T) -> None:
        """Append an item behind those of the same visitor."""
        visitors = self._queue.setdefault(item.address, OrderedDict())
        visitors.setdefault(item.visitor, deque()).append(item)
        self._size += 1

    def of_visitor(self, item: T) -> int:
        """Number of items of the same visitor at the same address."""
        visitors = self._queue.get(item.address)
        return len(visitors.get(item.visitor, ())) if visitors else 0

    def of_address(self, item: T) -> int:
        """Number of items of the same address."""
        return sum(map(len, self._queue.get(item.address, {}).values()))

    def remove(self, item: T) -> None:
        """Remove an item; the order of the others stays. Raises KeyError, ValueError."""
        visitors = self._queue[item.address]
        visitors[item.visitor].remove(item)
        self._size -= 1
        if not visitors[item.visitor]:
            del visitors[item.visitor]
        if not visitors:
            del self._queue[item.address]

    def pop(self, accepts: Callable[[T], bool] = lambda item: True) -> T | None:
        """Pop the next item that fits, only the first of each visitor considered; None without one.

        The visitor then moves to the end of the address's visitors, and the address to the end.
        """
        for address, visitors in self._queue.items():
            for visitor, waiting in visitors.items():
                if accepts(waiting[0]):
                    item = waiting[0]
                    visitors.move_to_end(visitor)
                    self._queue.move_to_end(address)
                    self.remove(item)
                    return item
        return None


def _turns(queues: list[list[T]]) -> Iterator[T]:
    """One item of each queue in turn, until all are empty."""
    missing = object()
    rounds = itertools.zip_longest(*queues, fillvalue=missing)
    return (item for round in rounds for item in round if item is not missing)  # type: ignore[misc]
