"""Cache of the things of open galleries."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from index_store import Store
from index_store.analysis.things import Thing, things
from index_store.errors import NotCompared


class KnownThings:
    """The things of one generation.

    Attributes:
        listed: the things, most photos first; a thing's number is its index.
    """

    def __init__(self, listed: list[Thing]):
        self.listed = listed
        self._number = {id: number for number, thing in enumerate(listed) for id in thing.ids}

    def number_of(self, id: int) -> int | None:
        """Number of the thing that a photo shows; None if no other photo is known to show it."""
        return self._number.get(id)

    def others(self, id: int) -> int:
        """Number of other photos that show the same thing."""
        number = self.number_of(id)
        return 0 if number is None else len(self.listed[number].ids) - 1


_cache: WeakKeyDictionary[Store, tuple[int, KnownThings | None]] = WeakKeyDictionary()


def things_of(store: Store) -> KnownThings | None:
    """The things of a store; None if its photos were not compared with each other.

    Computed on first use (20 ms for 500 photos), and again when more photos are found to be
    damaged. Thread-safe: a race computes the same result twice.
    """
    damaged = len(store.damaged)
    if store not in _cache or _cache[store][0] != damaged:
        try:
            found = KnownThings(things(store))
        except NotCompared:
            found = None
        _cache[store] = damaged, found
    return _cache[store][1]
