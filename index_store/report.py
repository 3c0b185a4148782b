"""Reports about a store for the command line, as lines of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plurals import quantity

from .about import key as about_key
from .ann.pareto import on_front
from .ann.presets import EXACT_BELOW, PRESETS, IndexParameters
from .ann.remote.collection import Collection
from .ann.remote.milvus import MIN_INDEXED
from .ann.remote.push import Pushed
from .ann.tune import Trial
from .builder import CANDIDATES
from .global_artifacts import RECALL_CANDIDATES
from .graph.incremental import DRIFTED
from .graph.matching_graph import PROVEN, no_edge, pairs_in, unique_pairs
from .sources.difference import Difference
from .sources.sources import Sources
from .storage.catalogue import Skipped
from .storage.manifest import Manifest
from .store import Store

SHOWN_MARKS = 5
MAX_NAMED = 3  # if more files are skipped for one reason, only the first is named
NUMBERS = re.compile(r"\d[\d.,]*")  # reasons that differ only in numbers are counted together


def info_lines(store: Store, verified: bool) -> list[str]:
    """Facts about a store, one line each.

    Args:
        store: the store.
        verified: whether all files have been read and compared with their checksums.
    """
    manifest, drift, unused = store.manifest, store.manifest.drift, store.rows.unused
    pushed = manifest.collection
    diffusion = manifest.parameters["diffusion"]
    facts = {
        "photos": f"{manifest.photos} from {manifest.sources.roots}",
        **sources_facts(manifest.sources),
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
        "matching": matching_line(store.edges),
        "drift": f"photos added: {drift.added}, removed: {drift.removed}, since the last full "
        f"build; diffusion rows differ by {drift.rows:.1%}"
        + ("; `build` corrects that" if drift.rows > DRIFTED else ""),
    }
    return [f"{name:12s} {value}" for name, value in facts.items()]


def matching_line(edges: np.ndarray) -> str:
    """Summary of the matching graph. edges: EDGE (N, k)."""
    if not edges.shape[1]:
        return "the photos were not compared with each other; `build --matching` does so"
    pairs = unique_pairs([pairs_in(edges)], len(edges))
    is_verified = edges["inliers"] >= PROVEN
    both = unique_pairs([pairs_in(np.where(is_verified, edges, no_edge()))], len(edges))
    matched_photos = quantity(int(is_verified.any(1).sum()), "photo")
    return (
        f"{quantity(len(pairs), 'pair')} of neighbours compared, {len(both)} of them with at least "
        f"{PROVEN} matched points; {matched_photos} with such a neighbour"
    )


def sources_facts(sources: Sources) -> dict[str, str]:
    """Facts about a store's sources, besides its folders."""
    facts = {
        "excluded": " ".join(sources.exclude),
        "links": "to folders are followed" if sources.follow_links else "",
        "lists": ", ".join((*sources.lists, *sources.manifests)),
    }
    return {name: value for name, value in facts.items() if value}


def damaged_lines(store: Store, ids: Sequence[int]) -> list[str]:
    """The photos that are not served because their data is damaged."""
    found = store.catalogue.photos_of(ids)
    return [f"  damaged, not served: {photo.file}" for photo in found]


def mark_lines(store: Store) -> list[str]:
    """The most frequent ignored marks, by place and number of photos; at most SHOWN_MARKS."""
    lines = [
        f"  a mark {box} of {quantity(photos, 'photo')} is ignored"
        for box, photos in described_marks(store.marks.placed)
    ]
    more = len(lines) - SHOWN_MARKS
    more_lines = [f"  {quantity(more, 'further mark')} ignored"] if more > 0 else []
    return lines[:SHOWN_MARKS] + more_lines


def described_marks(placed: np.ndarray) -> list[tuple[str, int]]:
    """Place in words and number of photos of each mark, the most frequent first.

    Parts of one overlay are separate marks; marks that are mostly on the same photos count as one.

    Args:
        placed: PLACED (n,), see `Marks`.
    """
    photos_by_mark = {
        int(mark): np.unique(placed["photo"][placed["mark"] == mark])
        for mark in np.unique(placed["mark"])
    }
    groups: list[tuple[np.ndarray, list[int]]] = []  # photo ids, marks
    for mark, ids in sorted(photos_by_mark.items(), key=lambda item: -len(item[1])):
        for number, (photos, marks) in enumerate(groups):
            if 2 * len(np.intersect1d(ids, photos)) >= len(ids):
                groups[number] = np.union1d(ids, photos), [*marks, mark]
                break
        else:
            groups.append((ids, [mark]))
    groups.sort(key=lambda group: -len(group[0]))
    return [
        (place_in_words(placed["box"][np.isin(placed["mark"], marks)]), len(photos))
        for photos, marks in groups
    ]


def place_in_words(boxes: np.ndarray) -> str:
    """Where most boxes are, in words. boxes: float32 (n, 4), left, top, right, bottom, 0 to 1."""
    thirds = ((boxes[:, :2] + boxes[:, 2:]) / 2 * 3).astype(int).clip(0, 2)
    cells, counts = np.unique(thirds, axis=0, return_counts=True)
    cells = cells[counts >= counts.max() / 3]
    columns, rows = (np.unique(cells[:, axis]) for axis in (0, 1))
    column = ("left", "", "right")[columns[0]] if len(columns) == 1 else ""
    row = ("upper", "", "lower")[rows[0]] if len(rows) == 1 else ""
    if row and column:
        return f"in the {row} {column} corner"
    if row or column:
        return f"at the {row or column} edge"
    return "in the middle" if len(cells) == 1 else "in several places"


def skipped_lines(store: Store) -> list[str]:
    """Every skipped file with its reason."""
    return [f"  left out: {entry.file}: {entry.reason}" for entry in store.catalogue.skipped()]


def skipped_summary(store: Store) -> list[str]:
    """Skipped files by reason, the most frequent first; files are named if there are few."""
    by_reason: dict[str, list[Skipped]] = {}
    for entry in store.catalogue.skipped():
        by_reason.setdefault(NUMBERS.sub("#", entry.reason), []).append(entry)
    lines = []
    for entries in sorted(by_reason.values(), key=len, reverse=True):
        if len(entries) <= MAX_NAMED:
            lines += [f"  left out: {entry.file}: {entry.reason}" for entry in entries]
        else:
            first = entries[0]
            lines.append(f"  left out: {len(entries):,} like {first.file}: {first.reason}")
    if sum(map(len, by_reason.values())) > len(lines):
        lines.append("  `--verbose` and `info` name each of them.")
    return lines


def unmatched_credits(store: Store) -> list[str]:
    """A warning about entries of the photo tables whose credits are unused: no file matches."""
    about = store.about
    indexed = (
        {about_key(photo.file) for photo in store.catalogue.photos()} if about.photos else set()
    )
    indexed |= {about_key(entry.file) for entry in store.catalogue.skipped()}
    missing = sorted(file for file in about.photos if file and file not in indexed)
    if not missing:
        return []
    examples = ", ".join(missing[:MAX_NAMED])
    return [
        f"  {quantity(len(missing), 'photo')} of the table not in the store, such as: {examples}"
    ]


def difference_line(found: Difference) -> str:
    """Counts of the changes of an update, by kind."""
    kinds = ["came", "changed", "moved", "gone"] + (["left_out"] if found.left_out else [])
    words = {"left_out": "no longer usable or excluded"}
    return ", ".join(f"{words.get(kind, kind)}: {len(getattr(found, kind))}" for kind in kinds)


def difference_lines(found: Difference) -> list[str]:
    """Names of all files that an update changed."""
    return [
        *(f"  came: {file}" for file in found.came),
        *(f"  changed: {file}" for file in found.changed),
        *(f"  moved: {file} -> {to}" for file, to in found.moved),
        *(f"  gone: {file}" for file in found.gone),
        *(f"  no longer usable or excluded: {file}" for file in found.left_out),
    ]


def difference_json(path: Path, manifest: Manifest, found: Difference) -> dict[str, object]:
    """The changes of an update as a JSON object."""
    return {
        "store": str(path),
        "photos": manifest.photos,
        "skipped": manifest.skipped,
        "came": found.came,
        "changed": found.changed,
        "moved": [{"from": file, "to": to} for file, to in found.moved],
        "gone": found.gone,
        "left_out": found.left_out,
    }


def index_line(parameters: IndexParameters) -> str:
    """Preset, factory string and search parameter of an index."""
    preset = PRESETS[parameters.preset]
    how = f", {preset.parameter} {parameters.effort}" if preset.parameter else ""
    reason = f", fewer than {EXACT_BELOW:,} photos" if parameters.automatic and preset.exact else ""
    return f"{parameters.preset}: {parameters.factory}{how}{reason}"


def searched_line(manifest: Manifest, pushed: Collection) -> str:
    """Which index is searched, for a store that was pushed."""
    location = f"collection {pushed.name} at {pushed.address}"
    if manifest.searched_in is not None:
        return location
    return f"its own index; {location} is of generation {pushed.generation}"


def change_lines(path: Path, manifest: Manifest) -> list[str]:
    """Size of a store after a change, and whether it should be rebuilt or pushed again."""
    lines = [
        f"{quantity(manifest.photos, 'photo')}, {manifest.skipped} left out, "
        f"{quantity(len(manifest.segments), 'segment')}: {path}"
    ]
    if manifest.drift.rows > DRIFTED:
        lines.append(
            f"Diffusion rows differ by {manifest.drift.rows:.1%} from those of a build of all "
            "photos at once; `build` corrects that."
        )
    pushed = manifest.collection
    if pushed is not None and pushed.content not in ("", manifest.content):
        lines.append("It is searched with its own index until it is pushed again.")
    return lines


def push_lines(done: Pushed) -> list[str]:
    """Summary of a push."""
    where = done.collection
    lines = [
        f"{quantity(done.photos, 'photo')} in collection {where.name} at {where.address}, "
        f"{done.coded} of them in IVF-PQ codes of {quantity(done.code_bytes, 'byte')} in "
        f"{quantity(done.lists, 'list')} a segment"
    ]
    if done.coded < done.photos:
        lines.append(
            f"Segments of fewer than {MIN_INDEXED} photos are not indexed, but compared whole."
        )
    return lines + [f"dropped: {name}, of an earlier push" for name in done.dropped]


def trial_lines(trials: Sequence[Trial]) -> list[str]:
    """Table of trials; those on the Pareto front of recall and speed have a star."""
    best = on_front(np.array([t.recall10 for t in trials]), np.array([t.speed for t in trials]))
    lines = [
        "   preset           parameter          rescored  recall 10@10  1@10  queries/s  "
        "bytes/vector  build, CPU s"
    ]
    for star, trial in zip(best, trials):
        parameter = PRESETS[trial.name].parameter
        lines.append(
            f"{'*' if star else ' '}  {trial.name:15s}  "
            f"{f'{parameter} {trial.effort}' if parameter else '':14s}  "
            f"{trial.rescored or '':>6}  {trial.recall10:12.4f}  {trial.recall1:.3f}  "
            f"{trial.speed:9.0f}  {trial.bytes:12.1f}  {trial.build_s:8.1f}"
        )
    return lines
