"""Turns: heavy work of all visitors runs on a few threads, and who waits, waits fairly.

Ten tabs of one visitor wait for one another, not others for them (`fair_queue`). Nobody can queue
without bound: past it there is `Busy`, at once. One thread more does quick work only, such as
matching what is described already: a click does not wait for the uploads of others.
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
FIRST_GUESS = 0.5  # seconds a piece of work takes, before any was done
RECENT = 0.1  # weight of the last piece of work in the mean
MOST_RETRY = 60  # seconds
HEAVY_NICENESS = 10


class Busy(Exception):
    """Too much is waiting; str(error) is a sentence for the visitor.

    Attributes:
        retry_after_seconds: when it is worth trying again, at least 1.
        reason: whose bound was reached: "server", "address" or "visitor".
    """

    def __init__(self, retry_after_seconds: int, reason: str = "server"):
        super().__init__(f"Busy, try again in {quantity(retry_after_seconds, 'second')}.")
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason


def behind_clicks() -> None:
    """Let this thread, and those it starts, have the cores after those that draw pages.

    So a click that asks for nothing heavy is answered at once, however busy the server is.
    """
    with suppress(OSError, AttributeError):  # where threads have no priorities of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HEAVY_NICENESS)


class Ticket(Generic[T]):
    """A piece of work that waits for its turn, is done, or was cancelled."""

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
        """How many come before it; 0 once it has its turn."""
        return self._admission.place(self)

    @property
    def done(self) -> bool:
        """Whether there is a result, or was an error, or it was cancelled."""
        return self.future.done()

    def wait(self, seconds: float) -> bool:
        """Wait, at most so long. Returns `done`."""
        try:
            self.future.exception(seconds)
        except TimeoutError:
            return False
        except CancelledError:
            pass
        return True

    def result(self, seconds: float | None = None) -> T:
        """What the function returned, or raised. Raises TimeoutError after so many seconds."""
        return self.future.result(seconds)

    def cancel(self) -> bool:
        """Give the place up. Work that is done or has begun goes on; then this is False."""
        return self._admission.cancel(self)


class Admission:
    """A bounded executor with a bounded, fair queue before it.

    Args:
        workers: pieces of work done at one time, and one more that is quick.
        waiting: how many may wait, of all.
        waiting_each: how many may wait, of one visitor.
        waiting_address: how many may wait, of one address.
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
        self._most, self._most_each, self._most_address = waiting, waiting_each, waiting_address
        self._clock = clock
        # Its own queue holds no work, only as many calls of `_run_next` as there are tickets.
        self._executor = ThreadPoolExecutor(workers + 1, "turn", initializer=behind_clicks)
        self._lock = threading.Lock()
        self._queue: FairQueue[Ticket] = FairQueue()
        self._running = 0
        self._lane_is_free = True  # for one more that is quick
        self._mean_seconds = FIRST_GUESS

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many have it."""
        return self._running + (not self._lane_is_free)

    def submit(
        self, visitor: str, function: Callable[[], T], address: str = "", quick: bool = False
    ) -> Ticket[T]:
        """Queue a piece of work.

        Args:
            visitor: whose it is: a session of the page, or the address of an API call.
            function: the work. It runs on a thread of this executor.
            address: where the visitor is; if it is not known, the visitor stands alone.
            quick: whether it takes a tenth of a second or so.

        Raises:
            Busy: too much is waiting.
        """
        address = address or visitor
        ticket = Ticket(self, visitor, address, function, self._clock(), quick)
        with self._lock:
            # Work that is started at once is no waiting.
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
        """Drop what waits, and end the threads when they have done what they have begun."""
        with self._lock:
            left = list(self._queue)
        for ticket in left:
            ticket.cancel()
        self._executor.shutdown(wait=False)

    def retry_after(self) -> int:
        """Seconds after which what waits now will be done, as far as can be told."""
        seconds = self._mean_seconds * (self.waiting + self._running) / self.workers
        return int(min(max(1, -(-seconds // 1)), MOST_RETRY))

    def _check(self, ticket: Ticket) -> None:
        """Raise Busy if one more would be too many."""
        if self.waiting >= self._most:
            reason = "server"
        elif self._queue.of_visitor(ticket) >= self._most_each:
            reason = "visitor"
        elif self._queue.of_address(ticket) >= self._most_address:
            reason = "address"
        else:
            return
        prometheus.REFUSED.labels(f"queue of {reason}").inc()
        raise Busy(self.retry_after(), reason)

    def _take(self) -> tuple[Ticket, Callable, bool] | None:
        """The next one that may begin, what it does, and whether it does so in the lane."""
        with self._lock:
            in_lane = self._running >= self.workers
            if in_lane and not self._lane_is_free:
                return None
            ticket = self._queue.pop(lambda one: one.quick or not in_lane)
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
        """Work, until nothing is left that may begin: what may not finds no thread later."""
        while (taken := self._take()) is not None:
            self._run(*taken)

    def _run(self, ticket: Ticket, function: Callable, in_lane: bool) -> None:
        begin = self._clock()
        prometheus.WAITED.observe(begin - ticket.since)
        if not ticket.future.set_running_or_notify_cancel():  # cancelled by others than `cancel`
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
        """Before whoever waits is told, so that a next piece of work finds the place free."""
        with self._lock:
            if in_lane:
                self._lane_is_free = True
            else:
                self._running -= 1
            took = self._clock() - begin
            self._mean_seconds += RECENT * (took - self._mean_seconds)


@cache
def admission() -> Admission:
    """The one of this process, as large as the settings say."""
    now = settings()
    made = Admission(
        now.workers or available_cores(), now.waiting, now.waiting_each, now.waiting_address
    )
    prometheus.watch_queue(lambda: made.waiting, lambda: made.running)
    return made
