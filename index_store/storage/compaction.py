"""Fewer and fuller segments: small ones are joined, removed photos' bytes are left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..global_artifacts import Derived, Progress, silent
from ..graph import comparisons
from ..graph.comparisons import pair_keys
from ..graph.matching_graph import names_of, pairs_in
from ..parameters import extraction_spec_in
from ..sources.collected import FOLDER, delete_unlisted
from ..sources.removal import names_in
from .build_journal import digest
from .extraction_cache import SEGMENT
from .generation import SEGMENTS
from .keypoint_cache import keep_only
from .manifest import Manifest
from .publish import content_of, locked_for_update, replace, tidy
from .rows import Rows
from .segment import Segment, verify_segment, write_segment


def compact(store: str | Path, progress: Progress = silent) -> Manifest:
    """Join small segments, and drop what lies in segments of photos that are no longer there.

    Args:
        store: The store's folder.
        progress: As of `build`.

    Raises:
        StoreMissing, StoreCorrupt, StoreMismatch: As `Store`. A segment that is to be copied is
            compared with its checksum before.
        StoreBusy, StoreUnwritable: As `build`.
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
            return replace(store, content_of(live), rows, lambda _: Derived.of(live))
    tidy(store)
    return live.manifest


def joined(
    rows: Rows,
    folder: Path,
    fingerprint: str,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    drop_unused: bool = True,
) -> Rows:
    """The same photos, without others that lie in their segments, and in fewer of these.

    Segments that are at least half full, and hold these photos only, stay as they are.

    Args:
        rows: Photos of a generation.
        folder: Of all segments.
        fingerprint: As of `write_segment`.
        progress: Called once as progress(items, total); must yield the items, one a new segment.
        drop_unused: Rewrite full segments, too, if they hold other photos.

    Returns:
        `rows` itself if nothing would be gained.

    Raises:
        StoreCorrupt: A segment that is to be copied is damaged.
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
