"""Thread pool for detecting and comparing keypoints: one thread per core, for all searches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from extractor import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to each item on all cores. Raises the function's errors.

    Args:
        function: function of one item. It must not call `on_all_cores`, which would deadlock.
        items: items to apply it to.

    Returns:
        The results in the order of the items.
    """
    return list(_pool().map(function, items))


@cache
def _pool() -> ThreadPoolExecutor:
    """The pool of this process, shared by concurrent searches."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="verify")


if hasattr(os, "register_at_fork"):  # a forked process inherits the pool without its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
