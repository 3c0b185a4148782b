"""The things of opened galleries, at hand by their photos."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from index_store import Store
from index_store.analysis.things import Thing, things
from index_store.errors import NotCompared


class KnownThings:
    """The things of one generation.

    Attributes:
        listed: Those with most photos first; a thing's number is its place.
    """

    def __init__(self, listed: list[Thing]):
        self.listed = listed
        self._number = {id: number for number, thing in enumerate(listed) for id in thing.ids}

    def number_of(self, id: int) -> int | None:
        """Which thing a photo shows; None if no other photo is known to show it."""
        return self._number.get(id)

    def others(self, id: int) -> int:
        """How many more photos show the same thing."""
        number = self.number_of(id)
        return 0 if number is None else len(self.listed[number].ids) - 1


_known: WeakKeyDictionary[Store, tuple[int, KnownThings | None]] = WeakKeyDictionary()


def things_of(store: Store) -> KnownThings | None:
    """The things of a store; None if its photos were not compared with each other.

    Found when they are first asked for (20 ms for 500 photos), and again when more photos turn out
    to be damaged. Thread-safe: found twice at one time they are the same.
    """
    damaged = len(store.damaged)
    if store not in _known or _known[store][0] != damaged:
        try:
            found = KnownThings(things(store))
        except NotCompared:
            found = None
        _known[store] = damaged, found
    return _known[store][1]
