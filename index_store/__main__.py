"""python -m index_store build PHOTOS... | update | watch | add PHOTOS | remove FILE... | compact |
duplicates | things | info | tune | push

Each with --store STORE.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import (
    CommandParser,
    complain,
    print_lines,
    print_status,
    print_text,
    printable,
    run_command,
    sentence_of,
)
from extractor import (
    DEFAULT_MODEL,
    BadLimit,
    BadModel,
    Extractor,
    available_cores,
)
from extractor.descriptor.registry import MODELS, model_path
from plurals import quantity

from .analysis import thing_list
from .analysis.copies import copy_lines, list_copies, to_json
from .analysis.duplicates import duplicates
from .analysis.similarity_map import kept_map
from .analysis.things import things
from .ann.pareto import save_front
from .ann.presets import DEFAULT_PRESET, EXACT_BELOW, PRESETS, IndexParameters
from .ann.remote.collection import TOKEN
from .ann.remote.push import push, take_back
from .ann.tune import choose, replace_index, try_presets
from .builder import CANDIDATES, build
from .changes import add, compare, copies_of, remove, update
from .confirmation import Asking
from .engine_choice import extractor_for
from .errors import PhotosDamaged, StoreError
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
    left_out_lines,
    mark_lines,
    push_lines,
    summed_up_lines,
    trial_lines,
    unmatched_lines,
)
from .sources.collected import FOLDER
from .sources.difference import Difference
from .sources.exclusion import FILE as PATTERNS
from .sources.gathering import folder_of
from .sources.watching import follow_folders
from .storage.compaction import compact
from .storage.integrity import verify
from .store import Store, model_of

HERE = "here"  # in an address's place


def bar(items: Iterable, total: int, what: str) -> Iterable:
    """A progress bar on standard error; into a log file it writes every few seconds only."""
    often = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(
        items, total=total, desc=f"{what:10s}", unit="", mininterval=often, dynamic_ncols=True
    )


def folder(text: str) -> Path:
    """An argument that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def run_build(args: argparse.Namespace) -> None:
    """Build, and say what was left out."""
    roots = [folder_of(path) for path in args.photos]  # said before a model is looked for
    spread = side_by_side if args.ray is None else on_cluster(args.ray)
    extractor, choice = extractor_for(args.store, args.model, calls=available_cores())
    print_status(f"descriptors: {choice}")
    asking = Asking(args.yes)
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
        confirm=asking,
        lists=args.list,
        manifests=args.iiif,
        private=args.allow_private,
        matching=args.matching,
    )
    indexed = quantity(manifest.photos, "photo")
    print_lines(f"{indexed} indexed, {manifest.skipped} left out: {args.store}")
    if asking.found != Difference():
        print_lines(difference_line(asking.found))
    with Store(args.store, embedded=True) as store:
        for _ in bar(range(1), 1, "map"):
            kept_map(store)
        print_lines(*(left_out_lines if args.verbose else summed_up_lines)(store))
        print_lines(*unmatched_lines(store))


def run_info(args: argparse.Namespace) -> None:
    """Say what is in a store; read all of it, if that is asked for."""
    with Store(args.store, embedded=True) as store:
        ids, found = store.damaged.tolist(), None
        if args.verify:
            try:
                verify(store, lambda items, total: bar(items, total, "verify"))
            except PhotosDamaged as error:  # said at the end
                ids, found = error.ids, error
        print_lines(*info_lines(store, args.verify))
        print_lines(*mark_lines(store))
        print_lines(*damaged_lines(store, ids))
        print_lines(*left_out_lines(store))
        if found is not None:
            raise found


def run_add(args: argparse.Namespace) -> None:
    """Add photos, described as those of the store are."""
    manifest = add(args.photos, args.store, extractor_of(args.store, args.model), bar)
    print_lines(*change_lines(args.store, manifest))


def run_remove(args: argparse.Namespace) -> None:
    """Remove photos, and say which others have the same content."""
    with Store(args.store, embedded=True) as store:
        copies = copies_of(store, args.files)
    print_lines(*change_lines(args.store, remove(args.files, args.store, bar)))
    for file in copies:
        print_lines(f"The same photo is still in the store: {file}")


def run_update(args: argparse.Namespace) -> None:
    """Do what the folders ask for; without loading a model if that is nothing."""
    manifest, _, current = compare(args.store)
    asking = Asking(args.yes)
    fetched = manifest.sources.lists or manifest.sources.manifests
    if not current or args.recheck or fetched:
        extractor = extractor_of(args.store, args.model)
        manifest = update(args.store, extractor, bar, args.recheck, asking)
    if args.json:
        print_text(json.dumps(difference_json(args.store, manifest, asking.found), indent=2))
        return
    print_lines(difference_line(asking.found))
    if args.verbose:
        print_lines(*difference_lines(asking.found))
    print_lines(*change_lines(args.store, manifest))
    with Store(args.store, embedded=True) as store:
        print_lines(*(left_out_lines if args.verbose else summed_up_lines)(store))
        print_lines(*unmatched_lines(store))


def run_watch(args: argparse.Namespace) -> None:
    """Update whenever the folders have changed; ends by Ctrl-C."""
    with Store(args.store, embedded=True) as store:
        sources = store.manifest.sources
    extractor = extractor_of(args.store, args.model)
    own = args.store.absolute() / FOLDER  # changes when an update has fetched something
    folders = [Path(folder) for folder in sources.folders if Path(folder) != own]
    folders += [Path(path).parent for path in sources.lists]
    said = ""

    def bring() -> None:
        nonlocal said
        asking = Asking(args.yes, ask=False)
        manifest = update(args.store, extractor, confirm=asking)
        said = ""
        if asking.found != Difference():
            print_lines(difference_line(asking.found), *change_lines(args.store, manifest))

    def failed(error: Exception) -> None:
        nonlocal said
        if sentence_of(error) != said:  # once, not with every look
            complain(error)
        said = sentence_of(error)

    print_status(f"watching {sources.roots}")
    follow_folders(folders or [args.store], args.store, bring, failed, threading.Event())


def run_compact(args: argparse.Namespace) -> None:
    """Rewrite small and partly unused segments."""
    print_lines(*change_lines(args.store, compact(args.store, bar)))


def run_duplicates(args: argparse.Namespace) -> None:
    """Every group of duplicates, the largest file of each first."""
    with Store(args.store, embedded=True) as store:
        groups, changed = list_copies(store, duplicates(store, bar, originals=True))
    if args.json:
        print_text(json.dumps(to_json(groups, changed), indent=2))
    else:
        print_lines(*copy_lines(groups, changed))


def run_things(args: argparse.Namespace) -> None:
    """Every thing with more than one photo, its face first."""
    with Store(args.store, embedded=True) as store:
        found = things(store)
        if args.json:
            print_text(json.dumps(thing_list.to_json(store, found), indent=2))
        else:
            print_lines(*thing_list.thing_lines(store, found))


def extractor_of(store: Path, model: Path | None) -> Extractor:
    """What describes photos as those in a store are described, if this machine can."""
    extractor, choice = extractor_for(store, model_of(store, model), calls=available_cores())
    print_status(f"descriptors: {choice}")
    return extractor


def run_tune(args: argparse.Namespace) -> None:
    """Measure, show, and write the choice into the store."""
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
        print_lines(f"Nothing reaches recall {args.recall:g}; the store stays as it was.")
        return
    manifest = replace_index(args.store, best.name, best.effort)
    print_lines(f"chosen: {index_line(IndexParameters(**manifest.parameters['ann']))}")


def run_push(args: argparse.Namespace) -> None:
    """Fill a server's collection, or turn away from it; say what is searched from now on."""
    if args.to == HERE:
        take_back(args.store)
        print_lines(f"{args.store} is searched with its own index.")
        return
    print_lines(*push_lines(push(args.store, args.to, bar)))


def share(text: str) -> float:
    """A number above 0, at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def add_store_and_model(command: argparse.ArgumentParser) -> None:
    """The options of commands that describe photos for a store that is there."""
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        help=f"the store's model, unless it is one of {', '.join(MODELS)}",
    )


def add_change_options(command: argparse.ArgumentParser) -> None:
    """The options of commands that compare a store with its folders."""
    command.add_argument(
        "--recheck", action="store_true", help="compare the content of files that look unchanged"
    )
    command.add_argument(
        "--yes", action="store_true", help="do not ask before many photos leave the store"
    )
    command.add_argument(
        "--verbose", action="store_true", help="name each photo, and each file that is left out"
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the process's exit code."""
    parser = CommandParser(
        prog="python -m index_store", description="Make a folder of photos searchable."
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="index a folder, or bring its store up to date")
    command.add_argument(
        "photos",
        type=folder,
        nargs="*",
        help="folders of photos (see docs/formats.md), searched with their sub-folders",
    )
    command.add_argument(
        "--store", type=folder, required=True, help="folder of the store, made if it is missing"
    )
    command.add_argument(
        "--model",
        type=model_path,
        default=DEFAULT_MODEL,
        metavar="NAME",
        help=f"descriptor model: {', '.join(MODELS)}, or the path of a file (default: the first)",
    )
    command.add_argument(
        "--index",
        choices=PRESETS,
        metavar="PRESET",
        help=f"form of the index: {', '.join(PRESETS)} (default: as it is; in a new store flat "
        f"below {EXACT_BELOW:,} photos, else {DEFAULT_PRESET})",
    )
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="describe the photos on a Ray cluster: auto, HOST:PORT, or local for one of this "
        "machine (see docs/scale.md)",
    )
    command.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help=f"leave out what fits, in the syntax of gitignore; may be given several times, and "
        f"holds for updates (a file {PATTERNS} in a folder does the same)",
    )
    command.add_argument(
        "--follow-links",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="go into folders that are links; holds for updates",
    )
    command.add_argument(
        "--list",
        action="append",
        default=[],
        type=Path,
        metavar="CSV",
        help="index the photos that a table names: columns path or url, id, title, credit, "
        "licence, link; others are shown as they are; addresses are fetched once",
    )
    command.add_argument(
        "--iiif",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="index the photos of a IIIF manifest or collection (Presentation 2 or 3)",
    )
    command.add_argument(
        "--allow-private",
        action="store_true",
        help="fetch from addresses of this machine and of local networks, too",
    )
    command.add_argument(
        "--matching",
        action=argparse.BooleanOptionalAction,
        help="compare the photos with each other, so that a search may go from photo to photo "
        "(default: as it is, or yes)",
    )
    add_change_options(command)
    command.set_defaults(run=run_build)
    command = commands.add_parser("info", help="say what is in a store")
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--verify", action="store_true", help="read all of it and compare the checksums"
    )
    command.set_defaults(run=run_info)
    command = commands.add_parser("tune", help="measure all forms of index and keep the best")
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--recall", type=share, default=0.95, help="10@10 that is wanted (default: 0.95)"
    )
    command.add_argument(
        "--bytes", type=float, default=float("inf"), help="of memory a vector, at most"
    )
    command.add_argument(
        "--plot", type=Path, help="picture of recall against speed (default: STORE.index.png)"
    )
    command.set_defaults(run=run_tune)
    command = commands.add_parser(
        "push", help="put the descriptors into a Milvus server, and search there"
    )
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--to",
        metavar="ADDRESS",
        required=True,
        help=f"of the server, such as http://localhost:19530; its token is read from {TOKEN}; "
        f"`{HERE}` searches with the store's own index again",
    )
    command.set_defaults(run=run_push)
    command = commands.add_parser("update", help="bring a store up to date with its folders")
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: photos, skipped, and the names of photos that came, changed, "
        "moved (from, to), are gone, or are left_out now",
    )
    add_change_options(command)
    command.set_defaults(run=run_update)
    add_store_and_model(command)
    command = commands.add_parser(
        "watch", help="keep a store up to date while photos come and go, until Ctrl-C"
    )
    command.add_argument(
        "--yes", action="store_true", help="let photos leave the store however many they are"
    )
    command.set_defaults(run=run_watch)
    add_store_and_model(command)
    command = commands.add_parser("add", help="add photos of the store's folder")
    command.add_argument("photos", type=folder, nargs="+", help="photos, or folders of photos")
    command.set_defaults(run=run_add)
    add_store_and_model(command)
    command = commands.add_parser("remove", help="remove photos from a store")
    command.add_argument(
        "files", nargs="+", help="photos by their names, as results show them, or paths to them"
    )
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_remove)
    command = commands.add_parser(
        "compact", help="join small segments, and drop the bytes of removed photos"
    )
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_compact)
    command = commands.add_parser(
        "duplicates",
        help="list photos that are one picture, saved again or resized",
        description="List photos that are one picture: the same pixels, saved again in any quality "
        "or format, or resized. A crop, another shot of the same scene and another document of the "
        "same layout are other pictures. Files that are still there are compared at up to 1024 "
        "pixels a side, others by their thumbnails; differences that are lost at the size of the "
        "smaller file are not seen. Files are never changed.",
    )
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: groups, each with the largest file and all photos (file, "
        "path, width, height, bytes, sha256), and changed, files that differ from what was indexed",
    )
    command.set_defaults(run=run_duplicates)
    command = commands.add_parser(
        "things",
        help="list photos that show the same thing",
        description="List photos that show the same thing: one building, one painting, one object, "
        "found by the comparisons that `build` made. Nothing is said of photos that are alone. "
        "Rather too few photos are put together than too many.",
    )
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: photos, how many there are, and things, each with its face, "
        "how sure it is (0 to 1), and the files of its photos, the face first",
    )
    command.set_defaults(run=run_things)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # for run_command
    except (StoreError, BadModel, BadLimit, OSError, sqlite3.Error) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        print_status("", "interrupted: run the same command again to go on where it stopped")
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
