"""Process items on all cores, yielding results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from extractor import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
PREFETCH = 64  # items that are processed ahead of the consumer


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` with one thread per core, at most PREFETCH items ahead of the consumer."""
    queue: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(available_cores()) as threads:
        try:
            for item in items:
                queue.append(threads.submit(work, item))
                if len(queue) >= PREFETCH:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
