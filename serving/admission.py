"""Turns: heavy work of all visitors runs on a few threads, and who waits, waits fairly.

One address after the other has its turn, among those of one address one visitor after the other,
and a visitor's own work goes in its order. So ten tabs wait for one another, not others for them.
Nobody can queue without bound: past it there is `Busy`, at once.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Generic, TypeVar

from extractor import available_cores

from . import metrics
from .settings import settings

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
        unit = "second" if retry_after_seconds == 1 else "seconds"
        super().__init__(f"Busy, try again in {retry_after_seconds} {unit}.")
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
    ):
        self.visitor, self.address = visitor, address
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
        workers: pieces of work done at one time.
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
        self._executor = ThreadPoolExecutor(workers, "turn", initializer=behind_clicks)
        self._lock = threading.Lock()
        # address -> visitor -> tickets. First come the address and the visitor whose turn is next.
        self._queue: OrderedDict[str, OrderedDict[str, deque[Ticket]]] = OrderedDict()
        self._waiting = 0
        self._running = 0
        self._mean_seconds = FIRST_GUESS

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._waiting

    @property
    def running(self) -> int:
        """How many have it."""
        return self._running

    def submit(self, visitor: str, function: Callable[[], T], address: str = "") -> Ticket[T]:
        """Queue a piece of work.

        Args:
            visitor: whose it is: a session of the page, or the address of an API call.
            function: the work. It runs on a thread of this executor.
            address: where the visitor is; if it is not known, the visitor stands alone.

        Raises:
            Busy: too much is waiting.
        """
        address = address or visitor
        ticket = Ticket(self, visitor, address, function, self._clock())
        with self._lock:
            # Work that is started at once is no waiting.
            if self._running + self._waiting >= self.workers:
                self._check(visitor, address)
            visitors = self._queue.setdefault(address, OrderedDict())
            visitors.setdefault(visitor, deque()).append(ticket)
            self._waiting += 1
        self._executor.submit(self._run_next)
        return ticket

    def place(self, ticket: Ticket) -> int:
        """See `Ticket.place`."""
        with self._lock:
            if ticket.function is None:
                return 0
            return next((n for n, other in enumerate(self._order()) if other is ticket), 0)

    def cancel(self, ticket: Ticket) -> bool:
        """See `Ticket.cancel`."""
        with self._lock:
            if ticket.function is None:
                return False
            visitors = self._queue[ticket.address]
            visitors[ticket.visitor].remove(ticket)
            if not visitors[ticket.visitor]:
                del visitors[ticket.visitor]
            if not visitors:
                del self._queue[ticket.address]
            self._waiting -= 1
            ticket.function = None
        metrics.REFUSED.labels("left").inc()
        return ticket.future.cancel()

    def close(self) -> None:
        """Drop what waits, and end the threads when they have done what they have begun."""
        with self._lock:
            left = list(self._order())
        for ticket in left:
            ticket.cancel()
        self._executor.shutdown(wait=False)

    def retry_after(self) -> int:
        """Seconds after which what waits now will be done, as far as can be told."""
        seconds = self._mean_seconds * (self._waiting + self._running) / self.workers
        return int(min(max(1, -(-seconds // 1)), MOST_RETRY))

    def _check(self, visitor: str, address: str) -> None:
        """Raise Busy if one more would be too many."""
        visitors: Mapping[str, deque[Ticket]] = self._queue.get(address, {})
        if self._waiting >= self._most:
            reason = "server"
        elif len(visitors.get(visitor, ())) >= self._most_each:
            reason = "visitor"
        elif sum(map(len, visitors.values())) >= self._most_address:
            reason = "address"
        else:
            return
        metrics.REFUSED.labels(f"queue of {reason}").inc()
        raise Busy(self.retry_after(), reason)

    def _order(self) -> Iterator[Ticket]:
        """All that wait, in the order in which they will have their turn if nobody else comes."""
        return _turns([_turns([list(t) for t in v.values()]) for v in self._queue.values()])

    def _take(self) -> tuple[Ticket, Callable] | None:
        """The next one, if any is left: who cancels leaves a call of `_run_next` behind."""
        with self._lock:
            if not self._queue:
                return None
            address, visitors = next(iter(self._queue.items()))
            visitor, tickets = next(iter(visitors.items()))
            ticket = tickets.popleft()
            visitors.move_to_end(visitor)
            self._queue.move_to_end(address)
            if not tickets:
                del visitors[visitor]
            if not visitors:
                del self._queue[address]
            function, ticket.function = ticket.function, None
            self._waiting -= 1
            self._running += 1
        assert function is not None
        return ticket, function

    def _run_next(self) -> None:
        taken = self._take()
        if taken is None:
            return
        ticket, function = taken
        begin = self._clock()
        metrics.WAITED.observe(begin - ticket.since)
        if not ticket.future.set_running_or_notify_cancel():  # cancelled by others than `cancel`
            self._end(begin)
            return
        try:
            result = function()
        except BaseException as error:
            self._end(begin)
            ticket.future.set_exception(error)
        else:
            self._end(begin)
            ticket.future.set_result(result)

    def _end(self, begin: float) -> None:
        """Before whoever waits is told, so that a next piece of work finds the place free."""
        with self._lock:
            self._running -= 1
            took = self._clock() - begin
            self._mean_seconds += RECENT * (took - self._mean_seconds)


def _turns(queues: list) -> Iterator[Ticket]:
    """One of each queue after the other, until all are empty."""
    missing = object()
    rounds = itertools.zip_longest(*queues, fillvalue=missing)
    return (one for round in rounds for one in round if one is not missing)


@cache
def admission() -> Admission:
    """The one of this process, as large as the settings say."""
    now = settings()
    made = Admission(
        now.workers or available_cores(), now.waiting, now.waiting_each, now.waiting_address
    )
    metrics.watch_queue(lambda: made.waiting, lambda: made.running)
    return made
