"""python -m index_store build PHOTOS | update | add PHOTOS | remove FILE... | compact |
duplicates | info | tune | push

Each with --store STORE.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import run_command
from extractor import DEFAULT_MODEL, BadModel, Extractor, available_cores, choose_extractor
from extractor.registry import MODELS, model_path

from .builder import CANDIDATES, build, folder_of
from .changes import add, compare, remove, update
from .cluster import on_cluster
from .collection import TOKEN
from .compaction import compact
from .derived import RECALL_CANDIDATES
from .duplicates import duplicates
from .errors import PhotosDamaged, StoreError
from .extraction import side_by_side
from .front import on_front, save_front
from .incremental import DRIFTED
from .integrity import verify
from .manifest import Manifest
from .milvus import LEAST_INDEXED
from .parameters import described_before
from .presets import PRESETS, IndexParameters
from .push import push, take_back
from .similarity_map import kept_map
from .store import Store, model_of
from .terminal import printable, tolerate_any_text
from .tune import Trial, choose, replace_index, try_presets

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
    root = folder_of(args.photos)  # said before a model is looked for, which takes seconds
    spread = side_by_side if args.ray is None else on_cluster(args.ray)
    extractor, choice = choose_extractor(
        args.model, calls=available_cores(), prefer=described_before(args.store)
    )
    print(f"descriptors: {choice}", file=sys.stderr)
    manifest = build(root, args.store, extractor, bar, index=args.index, spread=spread)
    print(f"{manifest.photos} photos indexed, {manifest.skipped} left out: {printable(args.store)}")
    with Store(args.store, embedded=True) as store:
        for _ in bar(range(1), 1, "map"):
            kept_map(store)
        print_left_out(store)


def run_info(args: argparse.Namespace) -> None:
    """Say what is in a store; read all of it, if that is asked for."""
    with Store(args.store, embedded=True) as store:
        ids, found = store.damaged.tolist(), None
        if args.verify:
            try:
                verify(store, lambda items, total: bar(items, total, "verify"))
            except PhotosDamaged as error:  # said at the end
                ids, found = error.ids, error
        manifest = store.manifest
        diffusion = manifest.parameters["diffusion"]
        drift = manifest.drift
        unused = store.rows.unused
        rows = {
            "photos": f"{manifest.photos} from {manifest.photos_root}",
            "left out": manifest.skipped,
            "generation": f"{store.generation}, built {manifest.created}, "
            f"{manifest.size / 2**20:.1f} MB, "
            + ("checksums verified" if args.verify else "sizes verified"),
            "segments": f"{len(manifest.segments)}, with {unused} photos that are not in the store"
            + (", until the next `compact`" if unused else ""),
            "model": f"{manifest.model['architecture']}, {manifest.dim} dimensions, "
            f"longest side {manifest.model['longest_side']}",
            "described": "{precision} by {engine}".format(**manifest.described_by),
            "fingerprint": manifest.fingerprint[:16],
            "index": index_line(IndexParameters(**manifest.parameters["ann"])),
            **({"searched in": searched_line(manifest)} if manifest.collection else {}),
            "recall@10": f"{manifest.shortlist_recall} among the index's first "
            f"{RECALL_CANDIDATES}; a query rescores {CANDIDATES}",
            "neighbours": f"{manifest.neighbour_recall} of the exact ones",
            "diffusion": ", ".join(f"{name} {value}" for name, value in diffusion.items()),
            "drift": f"{drift.added} photos added and {drift.removed} removed since all was made "
            f"at once; diffusion rows differ by {drift.rows:.1%}"
            + ("; `build` mends that" if drift.rows > DRIFTED else ""),
        }
        for name, value in rows.items():
            print(f"{name:12s} {printable(value)}")
        for photo in store.catalogue.photos_of(ids):
            print(f"  damaged, not served: {printable(photo.file)}")
        print_left_out(store)
        if found is not None:
            raise found


def run_add(args: argparse.Namespace) -> None:
    """Add photos, described as those of the store are."""
    manifest = add(args.photos, args.store, extractor_for(args.store, args.model), bar)
    report(args.store, manifest)


def run_remove(args: argparse.Namespace) -> None:
    """Remove photos."""
    report(args.store, remove(args.files, args.store, bar))


def run_update(args: argparse.Namespace) -> None:
    """Do what the folder asks for; without loading a model if that is nothing."""
    manifest, _, current = compare(args.store)
    if not current:
        manifest = update(args.store, extractor_for(args.store, args.model), bar)
    report(args.store, manifest)


def run_compact(args: argparse.Namespace) -> None:
    """Rewrite small and partly unused segments."""
    report(args.store, compact(args.store, bar))


def run_duplicates(args: argparse.Namespace) -> None:
    """Every group of near-duplicates, the largest picture of each first."""
    with Store(args.store, embedded=True) as store:
        groups = duplicates(store)
        more = sum(len(group) - 1 for group in groups)
        print(f"{len(groups)} groups, {more} photos more than pictures")
        for group in groups:
            print()
            for photo in store.catalogue.photos_of(group):
                print(printable(photo.file))


def extractor_for(store: Path, model: Path | None) -> Extractor:
    """What describes photos as those in a store are described, if this machine can."""
    extractor, choice = choose_extractor(
        model_of(store, model), calls=available_cores(), prefer=described_before(store)
    )
    print(f"descriptors: {choice}", file=sys.stderr)
    return extractor


def report(path: Path, manifest: Manifest) -> None:
    """What a store holds after a change, in one line; in two if it has drifted."""
    print(
        f"{manifest.photos} photos, {manifest.skipped} left out, "
        f"{len(manifest.segments)} segments: {printable(path)}"
    )
    if manifest.drift.rows > DRIFTED:
        print(
            f"Diffusion rows differ by {manifest.drift.rows:.1%} from those of a build of all "
            "photos at once; `build` mends that."
        )
    pushed = manifest.collection
    if pushed is not None and pushed.content not in ("", manifest.content):
        print("It is searched with its own index until it is pushed again.")


def run_tune(args: argparse.Namespace) -> None:
    """Measure, show, and write the choice into the store."""
    with Store(args.store, embedded=True) as store:
        trials = try_presets(np.asarray(store.descriptors), bar)
    print_trials(trials)
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
        print(f"picture: {printable(plot)}")
    except ImportError:
        print("No picture: matplotlib is not installed.")
    best = choose(trials, args.recall, args.bytes)
    if best is None:
        print(f"Nothing reaches recall {args.recall:g}; the store stays as it was.")
        return
    manifest = replace_index(args.store, best.name, best.effort)
    print(f"chosen: {index_line(IndexParameters(**manifest.parameters['ann']))}")


def print_trials(trials: list[Trial]) -> None:
    """A table; what nothing beats in recall and speed has a star."""
    best = on_front(np.array([t.recall10 for t in trials]), np.array([t.speed for t in trials]))
    print(
        "   preset           knob          rescored  recall 10@10  1@10  queries/s  "
        "bytes/vector  build, s of processor"
    )
    for star, trial in zip(best, trials):
        preset = PRESETS[trial.name]
        knob = f"{preset.knob} {trial.effort}" if preset.knob else ""
        print(
            f"{'*' if star else ' '}  {trial.name:15s}  {knob:14s}  "
            f"{trial.rescored or '':>6}  {trial.recall10:12.4f}  {trial.recall1:.3f}  "
            f"{trial.speed:9.0f}  {trial.bytes:12.1f}  {trial.build_s:8.1f}"
        )


def run_push(args: argparse.Namespace) -> None:
    """Fill a server's collection, or turn away from it; say what is searched from now on."""
    if args.to == HERE:
        take_back(args.store)
        print(f"{printable(args.store)} is searched with its own index.")
        return
    done = push(args.store, args.to, bar)
    where = done.collection
    print(
        f"{done.photos} photos in collection {where.name} at {where.address}, {done.coded} of "
        f"them in IVF-PQ codes of {done.code_bytes} bytes in {done.lists} lists a segment"
    )
    if done.coded < done.photos:
        print(f"Segments of less than {LEAST_INDEXED} photos are not indexed, but compared whole.")
    for name in done.dropped:
        print(f"dropped: {name}, of an earlier push")


def searched_line(manifest: Manifest) -> str:
    """What proposes candidates, and where the store was pushed to before."""
    where = manifest.collection
    if where is None:
        return "its own index"
    named = f"collection {where.name} at {where.address}"
    if manifest.searched_in is not None:
        return named
    return f"its own index; {named} is of generation {where.generation}"


def share(text: str) -> float:
    """A number above 0, at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def index_line(parameters: IndexParameters) -> str:
    """The form of an index and how it is searched, in a line."""
    preset = PRESETS[parameters.preset]
    how = f", {preset.knob} {parameters.effort}" if preset.knob else ""
    return f"{parameters.preset}: {parameters.factory}{how}"


def print_left_out(store: Store) -> None:
    """Every file that is not in a store, with the reason."""
    for entry in store.catalogue.skipped():
        print(f"  left out: {printable(entry.file)}: {printable(entry.reason)}")


def add_store_and_model(command: argparse.ArgumentParser) -> None:
    """The options of commands that describe photos for a store that is there."""
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        help=f"the store's model, unless it is one of {', '.join(MODELS)}",
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m index_store", description="Make a folder of photos searchable."
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="index a folder, or bring its store up to date")
    command.add_argument(
        "photos",
        type=folder,
        help="folder of JPEG, PNG and WebP photos, searched with its sub-folders",
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
        help=f"form of the index: {', '.join(PRESETS)} (default: as it is, or the first)",
    )
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="describe the photos on a Ray cluster: auto, HOST:PORT, or local for one of this "
        "machine (see docs/scale.md)",
    )
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
    command = commands.add_parser("update", help="bring a store up to date with its folder")
    command.set_defaults(run=run_update)
    add_store_and_model(command)
    command = commands.add_parser("add", help="add photos of the store's folder")
    command.add_argument("photos", type=folder, nargs="+", help="photos, or folders of photos")
    command.set_defaults(run=run_add)
    add_store_and_model(command)
    command = commands.add_parser("remove", help="remove photos from a store")
    command.add_argument(
        "files", nargs="+", help="photos by their names in the store's folder, as results show them"
    )
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_remove)
    command = commands.add_parser(
        "compact", help="join small segments, and drop the bytes of removed photos"
    )
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_compact)
    command = commands.add_parser(
        "duplicates", help="list photos that are one picture, saved anew or resized"
    )
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_duplicates)
    args = parser.parse_args(argv)
    tolerate_any_text()
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # for run_command
    except (StoreError, BadModel, OSError, sqlite3.Error) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted: run the same command again to go on where it stopped", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
