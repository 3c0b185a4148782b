"""Work on all cores that this process may use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import cpu_count as available_cores  # respects CPU affinity and cgroup limits

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # finished items that are kept ready for the consumer, for each core


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """`map` with one thread per core, which does not run far ahead of the consumer."""
    workers = available_cores()
    queue: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for item in items:
                queue.append(threads.submit(work, item))
                if len(queue) > AHEAD * workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
