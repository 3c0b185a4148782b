"""What the command line says of a store: lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plurals import quantity

from .builder import CANDIDATES
from .collection import Collection
from .derived import RECALL_CANDIDATES
from .front import on_front
from .incremental import DRIFTED
from .manifest import Manifest
from .milvus import LEAST_INDEXED
from .presets import PRESETS, IndexParameters
from .push import Pushed
from .store import Store
from .tune import Trial


def info_lines(store: Store, verified: bool) -> list[str]:
    """What is in a store, a line for each fact.

    Args:
        store: the store.
        verified: whether all of it has been read and compared with its checksums.
    """
    manifest, drift, unused = store.manifest, store.manifest.drift, store.rows.unused
    pushed = manifest.collection
    diffusion = manifest.parameters["diffusion"]
    facts = {
        "photos": f"{manifest.photos} from {manifest.photos_root}",
        "left out": manifest.skipped,
        "generation": f"{store.generation}, built {manifest.created}, "
        f"{manifest.size / 2**20:.1f} MB, "
        + ("checksums verified" if verified else "sizes verified"),
        "segments": f"{len(manifest.segments)}, with {quantity(unused, 'unused photo')}"
        + (", until the next `compact`" if unused else ""),
        "model": f"{manifest.model['architecture']}, {manifest.dim} dimensions, "
        f"longest side {manifest.model['longest_side']}",
        "described": "{precision} by {engine}".format(**manifest.described_by),
        "fingerprint": manifest.fingerprint[:16],
        "index": index_line(IndexParameters(**manifest.parameters["ann"])),
        **({"searched in": searched_line(manifest, pushed)} if pushed else {}),
        "keypoints": f"{len(store.keypoints)} in the keypoint index, at most "
        f"{store.keypoints.form.points} of a photo, {store.keypoints.form.code_bytes} bytes each",
        "recall@10": f"{manifest.shortlist_recall} among the index's first "
        f"{RECALL_CANDIDATES}; a query rescores {CANDIDATES}",
        "neighbours": f"{manifest.neighbour_recall} of the exact ones",
        "diffusion": ", ".join(f"{name} {value}" for name, value in diffusion.items()),
        "drift": f"photos added: {drift.added}, removed: {drift.removed}, since the last full "
        f"build; diffusion rows differ by {drift.rows:.1%}"
        + ("; `build` mends that" if drift.rows > DRIFTED else ""),
    }
    return [f"{name:12s} {value}" for name, value in facts.items()]


def damaged_lines(store: Store, ids: Sequence[int]) -> list[str]:
    """Every photo that is not served because its bytes are damaged."""
    found = store.catalogue.photos_of(ids)
    return [f"  damaged, not served: {photo.file}" for photo in found]


def left_out_lines(store: Store) -> list[str]:
    """Every file that is not in a store, with the reason."""
    return [f"  left out: {entry.file}: {entry.reason}" for entry in store.catalogue.skipped()]


def index_line(parameters: IndexParameters) -> str:
    """The form of an index and how it is searched."""
    preset = PRESETS[parameters.preset]
    how = f", {preset.knob} {parameters.effort}" if preset.knob else ""
    return f"{parameters.preset}: {parameters.factory}{how}"


def searched_line(manifest: Manifest, pushed: Collection) -> str:
    """What proposes candidates of a store that was pushed there."""
    named = f"collection {pushed.name} at {pushed.address}"
    if manifest.searched_in is not None:
        return named
    return f"its own index; {named} is of generation {pushed.generation}"


def change_lines(path: Path, manifest: Manifest) -> list[str]:
    """What a store holds after a change, and whether it has drifted or should be pushed again."""
    lines = [
        f"{quantity(manifest.photos, 'photo')}, {manifest.skipped} left out, "
        f"{quantity(len(manifest.segments), 'segment')}: {path}"
    ]
    if manifest.drift.rows > DRIFTED:
        lines.append(
            f"Diffusion rows differ by {manifest.drift.rows:.1%} from those of a build of all "
            "photos at once; `build` mends that."
        )
    pushed = manifest.collection
    if pushed is not None and pushed.content not in ("", manifest.content):
        lines.append("It is searched with its own index until it is pushed again.")
    return lines


def push_lines(done: Pushed) -> list[str]:
    """What a push has put into a server's collection."""
    where = done.collection
    lines = [
        f"{quantity(done.photos, 'photo')} in collection {where.name} at {where.address}, "
        f"{done.coded} of them in IVF-PQ codes of {quantity(done.code_bytes, 'byte')} in "
        f"{quantity(done.lists, 'list')} a segment"
    ]
    if done.coded < done.photos:
        lines.append(
            f"Segments of less than {LEAST_INDEXED} photos are not indexed, but compared whole."
        )
    return lines + [f"dropped: {name}, of an earlier push" for name in done.dropped]


def trial_lines(trials: Sequence[Trial]) -> list[str]:
    """A table; what nothing beats in recall and speed has a star."""
    best = on_front(np.array([t.recall10 for t in trials]), np.array([t.speed for t in trials]))
    lines = [
        "   preset           knob          rescored  recall 10@10  1@10  queries/s  "
        "bytes/vector  build, s of processor"
    ]
    for star, trial in zip(best, trials):
        knob = PRESETS[trial.name].knob
        lines.append(
            f"{'*' if star else ' '}  {trial.name:15s}  "
            f"{f'{knob} {trial.effort}' if knob else '':14s}  "
            f"{trial.rescored or '':>6}  {trial.recall10:12.4f}  {trial.recall1:.3f}  "
            f"{trial.speed:9.0f}  {trial.bytes:12.1f}  {trial.build_s:8.1f}"
        )
    return lines
