"""Rerankers or matchers of one store by name, each created on first use."""

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
        factories: name -> function that creates the method.
        kind: noun for a method in error messages.
    """

    def __init__(self, store: Store, factories: Mapping[str, Callable[[Store], Method]], kind: str):
        self._store, self._factories, self._kind = store, factories, kind
        self._created: dict[str, Method] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Method:
        """Raises ValueError for an unknown name, and the errors of the method's factory."""
        if name not in self._factories:
            names = ", ".join(self._factories)
            raise ValueError(f"There is no {self._kind} {name!r}, only {names}.")
        if name not in self._created:
            with self._lock:
                if name not in self._created:
                    self._created[name] = self._factories[name](self._store)
        return self._created[name]
