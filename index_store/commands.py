"""Commands of `python -m index_store`; each takes its parsed arguments."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

import numpy as np

from command import bar, message_of, print_error, print_lines, print_status, print_text, printable
from extractor import Extractor, available_cores
from plurals import quantity

from .analysis import thing_list
from .analysis.copies import copy_lines, list_copies, to_json
from .analysis.duplicates import duplicates
from .analysis.similarity_map import stored_map
from .analysis.things import things
from .ann.pareto import save_front
from .ann.presets import PRESETS, IndexParameters
from .ann.remote.push import push, use_own_index
from .ann.tune import choose, replace_index, try_presets
from .builder import CANDIDATES, build
from .changes import add, compare, copies_of, remove, update
from .confirmation import Confirmation
from .engine_choice import extractor_for
from .errors import PhotosDamaged
from .extraction import side_by_side
from .ray_build import on_cluster
from .report import (
    change_lines,
    damaged_lines,
    difference_json,
    difference_line,
    difference_lines,
    index_line,
    info_lines,
    mark_lines,
    push_lines,
    skipped_lines,
    skipped_summary,
    trial_lines,
    unmatched_credits,
)
from .sources.collected.state import FOLDER
from .sources.difference import Difference
from .sources.gathering import folder_of
from .sources.watching import follow_folders
from .storage.compaction import compact
from .storage.compatibility import model_of
from .storage.integrity import verify
from .store import Store

OWN_INDEX = "here"  # in an address's place


def run_build(args: argparse.Namespace) -> None:
    """Build, and report what was skipped."""
    roots = [folder_of(path) for path in args.photos]  # fails before a model is loaded
    spread = side_by_side if args.ray is None else on_cluster(args.ray)
    extractor, choice = extractor_for(args.store, args.model, calls=available_cores())
    print_status(f"descriptors: {choice}")
    confirmation = Confirmation(args.yes)
    manifest = build(
        roots,
        args.store,
        extractor,
        bar,
        index=args.index,
        spread=spread,
        exclude=args.exclude,
        follow_links=args.follow_links,
        recheck=args.recheck,
        confirm=confirmation,
        lists=args.list,
        manifests=args.iiif,
        private=args.allow_private,
        matching=args.matching,
    )
    indexed = quantity(manifest.photos, "photo")
    print_lines(f"{indexed} indexed, {manifest.skipped} left out: {args.store}")
    if confirmation.found != Difference():
        print_lines(difference_line(confirmation.found))
    with Store(args.store, embedded=True) as store:
        for _ in bar(range(1), 1, "map"):
            stored_map(store)
        print_lines(*(skipped_lines if args.verbose else skipped_summary)(store))
        print_lines(*unmatched_credits(store))


def run_info(args: argparse.Namespace) -> None:
    """Describe a store; read and verify all of it on request."""
    with Store(args.store, embedded=True) as store:
        ids, found = store.damaged.tolist(), None
        if args.verify:
            try:
                verify(store, lambda items, total: bar(items, total, "verify"))
            except PhotosDamaged as error:  # raised after the report
                ids, found = error.ids, error
        print_lines(*info_lines(store, args.verify))
        print_lines(*mark_lines(store))
        print_lines(*damaged_lines(store, ids))
        print_lines(*skipped_lines(store))
        if found is not None:
            raise found


def run_add(args: argparse.Namespace) -> None:
    """Add photos to a store."""
    manifest = add(args.photos, args.store, extractor_of(args.store, args.model), bar)
    print_lines(*change_lines(args.store, manifest))


def run_remove(args: argparse.Namespace) -> None:
    """Remove photos, and name others with the same content."""
    with Store(args.store, embedded=True) as store:
        copies = copies_of(store, args.files)
    print_lines(*change_lines(args.store, remove(args.files, args.store, bar)))
    for file in copies:
        print_lines(f"The same photo is still in the store: {file}")


def run_update(args: argparse.Namespace) -> None:
    """Bring a store up to date; the model is loaded only if something has changed."""
    manifest, _, current = compare(args.store)
    confirmation = Confirmation(args.yes)
    fetched = manifest.sources.lists or manifest.sources.manifests
    if not current or args.recheck or fetched:
        extractor = extractor_of(args.store, args.model)
        manifest = update(args.store, extractor, bar, args.recheck, confirmation)
    if args.json:
        print_text(json.dumps(difference_json(args.store, manifest, confirmation.found), indent=2))
        return
    print_lines(difference_line(confirmation.found))
    if args.verbose:
        print_lines(*difference_lines(confirmation.found))
    print_lines(*change_lines(args.store, manifest))
    with Store(args.store, embedded=True) as store:
        print_lines(*(skipped_lines if args.verbose else skipped_summary)(store))
        print_lines(*unmatched_credits(store))


def run_watch(args: argparse.Namespace) -> None:
    """Update whenever the folders have changed, until Ctrl-C."""
    with Store(args.store, embedded=True) as store:
        sources = store.manifest.sources
    extractor = extractor_of(args.store, args.model)
    collected = args.store.absolute() / FOLDER  # updates write here themselves
    folders = [Path(folder) for folder in sources.folders if Path(folder) != collected]
    folders += [Path(path).parent for path in sources.lists]
    last_error = ""

    def update_store() -> None:
        nonlocal last_error
        confirmation = Confirmation(args.yes, interactive=False)
        manifest = update(args.store, extractor, confirm=confirmation)
        last_error = ""
        if confirmation.found != Difference():
            print_lines(difference_line(confirmation.found), *change_lines(args.store, manifest))

    def report_error(error: Exception) -> None:
        nonlocal last_error
        if message_of(error) != last_error:  # once, not at every attempt
            print_error(error)
        last_error = message_of(error)

    print_status(f"watching {sources.roots}")
    follow_folders(
        folders or [args.store], args.store, update_store, report_error, threading.Event()
    )


def run_compact(args: argparse.Namespace) -> None:
    """Rewrite small and partly unused segments."""
    print_lines(*change_lines(args.store, compact(args.store, bar)))


def run_duplicates(args: argparse.Namespace) -> None:
    """List groups of duplicates, the largest file of each first."""
    with Store(args.store, embedded=True) as store:
        groups, changed = list_copies(store, duplicates(store, bar, originals=True))
    if args.json:
        print_text(json.dumps(to_json(groups, changed), indent=2))
    else:
        print_lines(*copy_lines(groups, changed))


def run_things(args: argparse.Namespace) -> None:
    """List things with more than one photo, the medoid of each first."""
    with Store(args.store, embedded=True) as store:
        found = things(store)
        if args.json:
            print_text(json.dumps(thing_list.to_json(store, found), indent=2))
        else:
            print_lines(*thing_list.thing_lines(store, found))


def extractor_of(store: Path, model: Path | None) -> Extractor:
    """The extractor that describes photos as the store's were, if this machine can run it."""
    extractor, choice = extractor_for(store, model_of(store, model), calls=available_cores())
    print_status(f"descriptors: {choice}")
    return extractor


def run_tune(args: argparse.Namespace) -> None:
    """Measure all forms of index and write the best one into the store."""
    with Store(args.store, embedded=True) as store:
        trials = try_presets(np.asarray(store.descriptors), bar)
    print_lines(*trial_lines(trials))
    plot = args.plot or Path(f"{args.store}.index.png")
    curves = {
        f"{preset}{', rescored' if rescored else ''}": (
            np.array([t.recall10 for t in same]),
            np.array([t.speed for t in same]),
        )
        for preset in PRESETS
        for rescored in (0, CANDIDATES)
        if (same := [t for t in trials if (t.name, t.rescored) == (preset, rescored)])
    }
    try:
        save_front(curves, plot, f"{printable(args.store)}: recall against speed")
        print_lines(f"picture: {plot}")
    except ImportError:
        print_lines("No picture: matplotlib is not installed.")
    best = choose(trials, args.recall, args.bytes)
    if best is None:
        print_lines(f"No index reaches recall {args.recall:g}; the store is unchanged.")
        return
    manifest = replace_index(args.store, best.name, best.effort)
    print_lines(f"chosen: {index_line(IndexParameters(**manifest.parameters['ann']))}")


def run_push(args: argparse.Namespace) -> None:
    """Push the descriptors to a Milvus server, or return to the store's own index."""
    if args.to == OWN_INDEX:
        use_own_index(args.store)
        print_lines(f"{args.store} is searched with its own index.")
        return
    print_lines(*push_lines(push(args.store, args.to, bar)))
