"""Follow folders: update a store while photos are added and deleted, with watchfiles.

Changes that the system does not report, such as those of other machines on a network share, are
found by scanning the folders regularly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import Change, watch

from ..errors import StoreError
from .exclusion import FILE as PATTERNS
from .exclusion import NO_MEDIA

QUIET = 2.0  # maximum seconds for which changes are collected
EVERY = 300.0  # seconds between scans of folders that seem unchanged
TICK = 0.5  # seconds
WATCHED_HIDDEN = frozenset({PATTERNS, NO_MEDIA})  # hidden files that affect what is indexed


def follow_folders(
    folders: Sequence[Path],
    store: Path,
    update: Callable[[], None],
    failed: Callable[[Exception], None],
    stop: threading.Event,
    settle_seconds: float = QUIET,
    every: float = EVERY,
) -> None:
    """Update a store at once, and whenever its folders have changed, until stopped.

    Args:
        folders: folders of the photos, and of lists of photos.
        store: folder of the store, whose own changes are ignored.
        update: function that brings the store up to date.
        failed: called with errors of `update`, and if a folder is missing. The next change or scan
            retries.
        stop: ends the loop when set.
        settle_seconds: seconds for which changes are collected.
        every: seconds between scans without reported changes.
    """
    inner = store.resolve()

    def counts(_: Change, path: str) -> bool:
        place = Path(path)
        hidden = place.name.startswith(".") and place.name not in WATCHED_HIDDEN
        return not hidden and not place.resolve().is_relative_to(inner)

    next_check = time.monotonic()
    while not stop.is_set():
        try:
            # The first update follows the first tick, so no change is missed in between.
            for events in watch(
                *folders,
                watch_filter=counts,
                debounce=int(settle_seconds * 1000),
                stop_event=stop,
                rust_timeout=int(TICK * 1000),
                yield_on_timeout=True,
            ):
                if events or time.monotonic() >= next_check:
                    next_check = time.monotonic() + every
                    update()
        except (StoreError, OSError) as error:  # then start watching again
            failed(error)
            stop.wait(TICK)
            next_check = time.monotonic() + every
