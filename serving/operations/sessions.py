"""Closing of abandoned sessions.

Streamlit keeps a session for a while, so that a visitor can reconnect, but cleans up only when
another visitor leaves. A timer closes sessions on a quiet server too.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from ..galleries.own import own_galleries
from ..galleries.upload_cache import upload_cache
from ..settings import settings
from . import prometheus
from .streamlit_private import Runtime, session_ids, stored_uploads

TICK_SECONDS = 1.0

log = logging.getLogger(__name__)


class SessionReaper:
    """Closes sessions whose visitors have been gone for too long.

    Args:
        runtime: Streamlit's runtime.
        seconds: how long a visitor may be gone.
        clock: monotonic seconds; tests replace it.
    """

    def __init__(
        self, runtime: Runtime, seconds: float, clock: Callable[[], float] = time.monotonic
    ):
        self._runtime, self._seconds, self._clock = runtime, seconds, clock
        self._gone_since: dict[str, float] = {}

    def tick(self) -> int:
        """Check all sessions once, on the event loop's thread, which owns Streamlit's sessions.

        Returns:
            Number of closed sessions.
        """
        runtime, now = self._runtime, self._clock()
        sessions = session_ids(runtime)
        disconnected = {id for id in sessions if not runtime.is_active_session(id)}
        self._gone_since = {id: self._gone_since.get(id, now) for id in disconnected}
        expired = [id for id, since in self._gone_since.items() if now - since >= self._seconds]
        for id in expired:
            runtime.close_session(id)
        own_galleries().sweep(sessions.difference(expired))
        # Uploads completed after their session was closed have no owner.
        for id in set(stored_uploads(runtime)) - sessions:
            runtime.uploaded_file_mgr.remove_session_files(id)
        prometheus.SESSIONS.labels("connected").set(len(sessions) - len(disconnected))
        prometheus.SESSIONS.labels("left").set(len(disconnected) - len(expired))
        prometheus.SESSIONS_CLOSED.inc(len(expired))
        return len(expired)


def give_memory_back() -> None:
    """Collect reference cycles and return free memory to the system (glibc only)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@asynccontextmanager
async def closing_abandoned(runtime: Runtime) -> AsyncIterator[None]:
    """Close abandoned sessions while the block runs."""
    clock = SessionReaper(runtime, settings().forget_seconds)

    async def run() -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                upload_cache().purge()
                if clock.tick():
                    await asyncio.get_running_loop().run_in_executor(None, give_memory_back)
            except Exception:  # the next tick retries: this must run as long as the server
                log.exception("abandoned sessions could not be closed")

    task = asyncio.create_task(run(), name="forgetting")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
