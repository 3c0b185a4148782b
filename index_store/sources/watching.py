"""A store that follows its folders while photos come and go, by watchfiles.

What the system does not report, such as changes on a network share that other machines make, is
found by looking at the folders now and then.
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

QUIET = 2.0  # seconds that changes are collected for, at most
EVERY = 300.0  # seconds between two looks at folders that seem unchanged
TICK = 0.5  # seconds
SPEAKING = frozenset({PATTERNS, NO_MEDIA})  # hidden files that decide what is indexed


def follow_folders(
    folders: Sequence[Path],
    store: Path,
    update: Callable[[], None],
    failed: Callable[[Exception], None],
    stop: threading.Event,
    quiet: float = QUIET,
    every: float = EVERY,
) -> None:
    """Update a store at once, and whenever its folders have changed, until it is stopped.

    Args:
        folders: Of the photos, and of the lists that name photos.
        store: The store's folder, whose own changes do not count.
        update: Brings the store up to date.
        failed: Is handed what `update` raises, and that a folder is missing. The next change, or
            the next look, is another try.
        stop: Ends it when set.
        quiet: Seconds that changes are collected for.
        every: Seconds after which the folders are scanned in any case.
    """
    inner = store.resolve()

    def counts(_: Change, path: str) -> bool:
        place = Path(path)
        hidden = place.name.startswith(".") and place.name not in SPEAKING
        return not hidden and not place.resolve().is_relative_to(inner)

    due = time.monotonic()
    while not stop.is_set():
        try:
            # The first update comes after the first tick: no change falls between the two.
            for seen in watch(
                *folders,
                watch_filter=counts,
                debounce=int(quiet * 1000),
                stop_event=stop,
                rust_timeout=int(TICK * 1000),
                yield_on_timeout=True,
            ):
                if seen or time.monotonic() >= due:
                    due = time.monotonic() + every
                    update()
        except (StoreError, OSError) as error:  # then the folders are watched from the start
            failed(error)
            stop.wait(TICK)
            due = time.monotonic() + every
