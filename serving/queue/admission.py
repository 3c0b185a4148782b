"""Admission: heavy work of all visitors runs on a few threads, behind a bounded, fair queue.

Ten tabs of one visitor wait for one another and do not delay others (`fair_queue`). Beyond the
limit `Busy` is raised at once. One additional thread runs quick work only, such as matching
described photos, so that a click does not wait for the uploads of others.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Generic, TypeVar

from extractor import available_cores
from plurals import quantity

from ..operations import prometheus
from ..settings import settings
from .fair_queue import FairQueue

T = TypeVar("T")
FIRST_GUESS = 0.5  # seconds per task, until one has finished
RECENT = 0.1  # weight of the last task in the mean
MAX_RETRY = 60  # seconds, the longest wait suggested
HEAVY_NICENESS = 10


class Busy(Exception):
    """The queue is full; str(error) is a sentence for the visitor.

    Attributes:
        retry_after_seconds: when to try again, at least 1.
        reason: whose limit was reached: "server", "address" or "visitor".
    """

    def __init__(self, retry_after_seconds: int, reason: str = "server"):
        super().__init__(f"Busy, try again in {quantity(retry_after_seconds, 'second')}.")
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason


def behind_clicks() -> None:
    """Lower the priority of this thread, and of those it starts, below the threads that draw pages.

    Light requests are then answered at once, however busy the server is.
    """
    with suppress(OSError, AttributeError):  # systems without per-thread priorities
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HEAVY_NICENESS)


class Ticket(Generic[T]):
    """A task that is queued, running, done or cancelled."""

    def __init__(
        self,
        admission: Admission,
        visitor: str,
        address: str,
        function: Callable[[], T],
        since: float,
        quick: bool,
    ):
        self.visitor, self.address, self.quick = visitor, address, quick
        self.function: Callable[[], T] | None = function
        self.since = since
        self.future: Future[T] = Future()
        self._admission = admission

    @property
    def place(self) -> int:
        """Number of tickets ahead of it; 0 once it is running."""
        return self._admission.place(self)

    @property
    def done(self) -> bool:
        """Whether the task has returned, failed or been cancelled."""
        return self.future.done()

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`. Returns `done`."""
        try:
            self.future.exception(seconds)
        except TimeoutError:
            return False
        except CancelledError:
            pass
        return True

    def result(self, seconds: float | None = None) -> T:
        """Return or raise what the function did. Raises TimeoutError after `seconds`."""
        return self.future.result(seconds)

    def cancel(self) -> bool:
        """Leave the queue. Returns False if the task has started or finished; it then continues."""
        return self._admission.cancel(self)


class Admission:
    """A bounded executor behind a bounded, fair queue.

    Args:
        workers: tasks that run at a time; one more may run if it is quick.
        waiting: maximum number of queued tasks.
        waiting_each: maximum number of queued tasks of one visitor.
        waiting_address: maximum number of queued tasks of one address.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        workers: int,
        waiting: int,
        waiting_each: int = 4,
        waiting_address: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.workers = workers
        self._max_waiting = waiting
        self._max_each, self._max_address = waiting_each, waiting_address
        self._clock = clock
        # The executor's queue holds one call of `_run_next` per ticket, never the tasks.
        self._executor = ThreadPoolExecutor(workers + 1, "turn", initializer=behind_clicks)
        self._lock = threading.Lock()
        self._queue: FairQueue[Ticket] = FairQueue()
        self._running = 0
        self._lane_is_free = True  # the additional thread for quick tasks
        self._mean_seconds = FIRST_GUESS

    @property
    def waiting(self) -> int:
        """Number of queued tasks."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of running tasks."""
        return self._running + (not self._lane_is_free)

    def submit(
        self, visitor: str, function: Callable[[], T], address: str = "", quick: bool = False
    ) -> Ticket[T]:
        """Queue a task.

        Args:
            visitor: owner of the task: a session of the page, or the address of an API call.
            function: the task, which runs on a thread of this executor.
            address: the visitor's address; "" counts the visitor as an address of its own.
            quick: whether the task takes about a tenth of a second.

        Raises:
            Busy: the queue is full.
        """
        address = address or visitor
        ticket = Ticket(self, visitor, address, function, self._clock(), quick)
        with self._lock:
            # A task that starts at once does not wait.
            if self._running + self.waiting >= self.workers:
                self._check(ticket)
            self._queue.add(ticket)
        self._executor.submit(self._run_next)
        return ticket

    def place(self, ticket: Ticket) -> int:
        """See `Ticket.place`."""
        with self._lock:
            if ticket.function is None:
                return 0
            return next((n for n, other in enumerate(self._queue) if other is ticket), 0)

    def cancel(self, ticket: Ticket) -> bool:
        """See `Ticket.cancel`."""
        with self._lock:
            if ticket.function is None:
                return False
            self._queue.remove(ticket)
            ticket.function = None
        prometheus.REFUSED.labels("left").inc()
        return ticket.future.cancel()

    def close(self) -> None:
        """Drop queued tasks, and end the threads once their current tasks are finished."""
        with self._lock:
            queued = list(self._queue)
        for ticket in queued:
            ticket.cancel()
        self._executor.shutdown(wait=False)

    def retry_after(self) -> int:
        """Estimated seconds until the current queue is empty, 1 to MAX_RETRY."""
        seconds = self._mean_seconds * (self.waiting + self._running) / self.workers
        return int(min(max(1, -(-seconds // 1)), MAX_RETRY))

    def _check(self, ticket: Ticket) -> None:
        """Raise Busy if one more ticket would exceed a limit."""
        if self.waiting >= self._max_waiting:
            reason = "server"
        elif self._queue.of_visitor(ticket) >= self._max_each:
            reason = "visitor"
        elif self._queue.of_address(ticket) >= self._max_address:
            reason = "address"
        else:
            return
        prometheus.REFUSED.labels(f"queue of {reason}").inc()
        raise Busy(self.retry_after(), reason)

    def _take(self) -> tuple[Ticket, Callable, bool] | None:
        """The next ticket that may start, its function, and whether it runs in the quick lane."""
        with self._lock:
            in_lane = self._running >= self.workers
            if in_lane and not self._lane_is_free:
                return None
            ticket = self._queue.pop(lambda queued: queued.quick or not in_lane)
            if ticket is None:
                return None
            function, ticket.function = ticket.function, None
            if in_lane:
                self._lane_is_free = False
            else:
                self._running += 1
        assert function is not None
        return ticket, function, in_lane

    def _run_next(self) -> None:
        """Run tickets until none may start: one left in the queue would get no thread later."""
        while (taken := self._take()) is not None:
            self._run(*taken)

    def _run(self, ticket: Ticket, function: Callable, in_lane: bool) -> None:
        begin = self._clock()
        prometheus.WAITED.observe(begin - ticket.since)
        if not ticket.future.set_running_or_notify_cancel():  # cancelled without `cancel`
            self._end(begin, in_lane)
            return
        try:
            result = function()
        except BaseException as error:
            self._end(begin, in_lane)
            ticket.future.set_exception(error)
        else:
            self._end(begin, in_lane)
            ticket.future.set_result(result)

    def _end(self, begin: float, in_lane: bool) -> None:
        """Free the slot before the result is set, so that the next task finds it free."""
        with self._lock:
            if in_lane:
                self._lane_is_free = True
            else:
                self._running -= 1
            took = self._clock() - begin
            self._mean_seconds += RECENT * (took - self._mean_seconds)


@cache
def admission() -> Admission:
    """The admission of this process, sized by the settings."""
    limits = settings()
    executor = Admission(
        limits.workers or available_cores(),
        limits.waiting,
        limits.waiting_each,
        limits.waiting_address,
    )
    prometheus.watch_queue(lambda: executor.waiting, lambda: executor.running)
    return executor
