"""Per-minute rate limits for searches, uploads, API calls, connections and messages."""

from __future__ import annotations

import math
import threading
import time
from functools import lru_cache

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from plurals import quantity

from ..operations import prometheus
from ..settings import Settings, settings


class TooMany(Exception):
    """A rate limit is exceeded; str(error) is a sentence for the visitor.

    Attributes:
        retry_after_seconds: when the next request is allowed, at least 1.
    """

    def __init__(self, retry_after_seconds: int):
        wait = quantity(retry_after_seconds, "second")
        super().__init__(f"Too many requests. Try again in {wait}.")
        self.retry_after_seconds = retry_after_seconds


class Quota:
    """Sliding one-minute windows. Thread-safe; in memory only.

    Args:
        limits: the limits of each kind, per visitor and per address. Kinds: "search", "upload",
            "request", "connection" and "message"; the last three are limited by address only.
    """

    def __init__(self, limits: Settings):
        self._lock = threading.Lock()
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._of_visitor = {
            "search": RateLimitItemPerMinute(limits.searches_per_minute),
            "upload": RateLimitItemPerMinute(limits.uploads_per_minute),
        }
        self._of_address = {
            "search": RateLimitItemPerMinute(limits.searches_per_minute_address),
            "upload": RateLimitItemPerMinute(limits.uploads_per_minute_address),
            "request": RateLimitItemPerMinute(limits.requests_per_minute_address),
            "connection": RateLimitItemPerMinute(limits.connections_per_minute_address),
            "message": RateLimitItemPerMinute(limits.messages_per_minute_address),
        }

    def spend(self, kind: str, address: str, visitor: str = "") -> None:
        """Count one request.

        Args:
            kind: one of the kinds above.
            address: client address, see `client_ip.address_of`.
            visitor: a session of the page; "" if only the address is known.

        Raises:
            TooMany: the limit is reached; nothing is counted then.
        """
        shares = [(self._of_address[kind], ("address", kind, address))]
        if visitor and kind in self._of_visitor:
            shares.append((self._of_visitor[kind], ("visitor", kind, visitor)))
        with self._lock:  # test and hit must not interleave
            for item, key in shares:
                if not self._limiter.test(item, *key):
                    prometheus.REFUSED.labels(f"{kind} quota of {key[0]}").inc()
                    raise TooMany(self._seconds_left(item, key))
            for item, key in shares:
                self._limiter.hit(item, *key)

    def _seconds_left(self, item: RateLimitItem, key: tuple[str, ...]) -> int:
        free_again = self._limiter.get_window_stats(item, *key).reset_time
        return max(1, math.ceil(free_again - time.time()))


def quota() -> Quota:
    """The quota of this process, with the limits of the settings."""
    return _quota(settings())


@lru_cache(1)
def _quota(limits: Settings) -> Quota:
    return Quota(limits)
