"""Compaction: merge small segments, and drop the data of removed photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..global_artifacts import Derived, Progress, silent
from ..graph import comparisons
from ..graph.comparisons import pair_keys
from ..graph.matching_graph import names_of, pairs_in
from ..parameters import extraction_spec_in
from ..sources.collected.state import FOLDER, delete_unlisted
from ..sources.removal import names_in
from .build_journal import digest
from .extraction_cache import SEGMENT
from .generation import SEGMENTS
from .keypoint_cache import keep_only
from .manifest import Manifest
from .publish import content_of, locked_for_update, publish, tidy
from .rows import Rows
from .segment import Segment, verify_segment, write_segment


def compact(store: str | Path, progress: Progress = silent) -> Manifest:
    """Merge small segments, and drop the data of photos that are no longer in the store.

    Args:
        store: folder of the store.
        progress: see `build`.

    Raises:
        StoreMissing, StoreCorrupt, StoreMismatch: see `Store`. Segments are compared with their
            checksums before they are copied.
        StoreBusy, StoreUnwritable: see `build`.
    """
    store = Path(store)
    with locked_for_update(store) as live:
        spec = extraction_spec_in(live.manifest)
        collected, entries = store / FOLDER, live.catalogue.entries()
        delete_unlisted(
            store,
            names_in(collected, live.roots, live.catalogue.removed()),
            names_in(collected, live.roots, entries),
        )
        keep_only(store, {entry.sha256 for entry in entries})
        comparisons.keep_only(
            store, pair_keys(names_of(live.rows, live.marks), pairs_in(live.edges))
        )
        rows = joined(
            live.rows,
            store / SEGMENTS,
            digest(spec.facts),
            lambda items, total: progress(items, total, "segments"),
        )
        if rows is not live.rows:
            return publish(store, content_of(live), rows, lambda _: Derived.of(live))
    tidy(store)
    return live.manifest


def joined(
    rows: Rows,
    folder: Path,
    fingerprint: str,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    drop_unused: bool = True,
) -> Rows:
    """The same photos in fewer segments, which hold no others.

    Segments that are at least half full, and hold only these photos, stay as they are.

    Args:
        rows: photos of a generation.
        folder: folder of all segments.
        fingerprint: see `write_segment`.
        progress: called once as progress(items, total); must yield the items, one per new segment.
        drop_unused: whether to also rewrite full segments that hold other photos.

    Returns:
        `rows` itself if nothing would be gained.

    Raises:
        StoreCorrupt: a segment to be copied is damaged.
    """
    slots = np.unique(rows.slots)
    numbers, sizes = rows.numbers(slots), np.diff(rows.starts)
    used = np.bincount(numbers, minlength=len(sizes))
    copied = sizes < SEGMENT // 2
    if drop_unused:
        copied |= used < sizes
    if copied.sum() < 2 and (used[copied] == sizes[copied]).all():
        return rows
    for number in np.flatnonzero(copied).tolist():
        verify_segment(folder, rows.segments[number].facts.name)

    segments, new_slots, size = [], np.full(rows.starts[-1], -1, np.int64), 0
    for number in np.flatnonzero(~copied).tolist():
        segments.append(rows.segments[number])
        new_slots[rows.starts[number] : rows.starts[number + 1]] = size + np.arange(sizes[number])
        size += int(sizes[number])
    moving = slots[copied[numbers]]
    new_slots[moving] = size + np.arange(len(moving))
    chunks = [moving[start : start + SEGMENT] for start in range(0, len(moving), SEGMENT)]
    for chunk in progress(chunks, len(chunks)):
        places = [rows.at_slot(slot) for slot in chunk.tolist()]
        facts = write_segment(
            folder,
            ((segment.sha256(row), segment.extracted(row)) for segment, row in places),
            rows.segments[0].descriptors.shape[1],
            fingerprint,
            sum(int(segment.table[row]["features"]) for segment, row in places),
        )
        segments.append(Segment(folder, facts.name))
    return Rows(segments, new_slots[rows.slots])
