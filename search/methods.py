"""Rerankers and matchers of one store, each created on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from index_store import Store

Method = TypeVar("Method")


class Methods(Generic[Method]):
    """Methods by name. Thread-safe: each is created once.

    Args:
        store: store to create them for.
        known: factory of each method, by name.
        kind: word for the methods in error messages.
    """

    def __init__(self, store: Store, known: Mapping[str, Callable[[Store], Method]], kind: str):
        self._store, self._known, self._kind = store, known, kind
        self._made: dict[str, Method] = {}
        self._lock = threading.Lock()  # creating one may take long, hence an own lock

    def __getitem__(self, name: str) -> Method:
        """Raises ValueError for an unknown name, and errors of the method's factory."""
        if name not in self._known:
            raise ValueError(f"There is no {self._kind} {name!r}, only {', '.join(self._known)}.")
        if name not in self._made:
            with self._lock:
                if name not in self._made:
                    self._made[name] = self._known[name](self._store)
        return self._made[name]
