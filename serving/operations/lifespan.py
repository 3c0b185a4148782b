"""Background tasks of the server: opening galleries and closing abandoned sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from ..decoding.decoder import decoder
from ..galleries.galleries import galleries
from ..galleries.own import own_galleries
from . import prometheus
from .sessions import closing_abandoned
from .streamlit_private import Runtime

POLL_SECONDS = 2.0  # between two checks for a new build

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """Lifespan for `st.App`: runs the background tasks from start-up to shutdown."""
    opening = asyncio.create_task(open_new_builds(), name="look for builds")
    try:
        async with closing_abandoned(Runtime.instance()):
            yield
    finally:
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
        own_galleries().close()
        decoder().close()


async def open_new_builds() -> None:
    """Open the stores at start-up and after every build, before a visitor needs them."""
    while True:
        try:
            await asyncio.get_running_loop().run_in_executor(None, galleries().start_opening)
            prometheus.show_galleries(
                (name, store.version, len(store), len(store.damaged))
                for name, gallery in galleries().opened().items()
                for store in (gallery.engine.store,)
            )
        except Exception:  # any disk error; the next check may succeed
            log.exception("the stores could not be checked for new builds")
        await asyncio.sleep(POLL_SECONDS)
