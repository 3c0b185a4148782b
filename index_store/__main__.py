"""python -m index_store build PHOTOS | update | add PHOTOS | remove FILE... | compact |
duplicates | info

Each with --store STORE.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from command import run_command
from extractor import DEFAULT_MODEL, BadModel, Extractor, available_cores, choose_extractor
from extractor.registry import MODELS, model_path

from .builder import CANDIDATES, build
from .changes import add, compare, remove, update
from .compaction import compact
from .derived import RECALL_CANDIDATES
from .duplicates import duplicates
from .errors import StoreError
from .incremental import DRIFTED
from .manifest import Manifest
from .parameters import described_before
from .similarity_map import kept_map
from .store import Store, model_of
from .terminal import printable, tolerate_any_text
from .verification import verify


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
    extractor, choice = choose_extractor(
        args.model, calls=available_cores(), prefer=described_before(args.store)
    )
    print(f"descriptors: {choice}", file=sys.stderr)
    manifest = build(args.photos, args.store, extractor, bar)
    print(f"{manifest.photos} photos indexed, {manifest.skipped} left out: {printable(args.store)}")
    with Store(args.store) as store:
        for _ in bar(range(1), 1, "map"):
            kept_map(store)
        print_left_out(store)


def run_info(args: argparse.Namespace) -> None:
    """Say what is in a store; read all of it, if that is asked for."""
    with Store(args.store) as store:
        if args.verify:
            verify(store, lambda items, total: bar(items, total, "verify"))
        manifest = store.manifest
        ann = manifest.parameters["ann"]
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
            "index": f"IVF{ann['nlist']},PQ{ann['codes']}x{ann['bits']}, "
            f"{ann['nprobe']} lists visited",
            "recall@10": f"{manifest.shortlist_recall} among the index's first "
            f"{RECALL_CANDIDATES}; a query rescores {CANDIDATES}",
            "diffusion": ", ".join(f"{name} {value}" for name, value in diffusion.items()),
            "drift": f"{drift.added} photos added and {drift.removed} removed since all was made "
            f"at once; diffusion rows differ by {drift.rows:.1%}"
            + ("; `build` mends that" if drift.rows > DRIFTED else ""),
        }
        for name, value in rows.items():
            print(f"{name:12s} {printable(value)}")
        print_left_out(store)


def run_add(args: argparse.Namespace) -> None:
    """Add photos, described as those of the store are."""
    manifest = add(args.photos, args.store, extractor_for(args.store, args.model), bar)
    report(args.store, manifest)


def run_remove(args: argparse.Namespace) -> None:
    """Remove photos."""
    report(args.store, remove(args.files, args.store, bar))


def run_update(args: argparse.Namespace) -> None:
    """Do what the folder asks for; without loading a model if that is nothing."""
    manifest, listing = compare(args.store)
    if manifest.listing != listing.digest:
        manifest = update(args.store, extractor_for(args.store, args.model), bar)
    report(args.store, manifest)


def run_compact(args: argparse.Namespace) -> None:
    """Rewrite small and partly unused segments."""
    report(args.store, compact(args.store, bar))


def run_duplicates(args: argparse.Namespace) -> None:
    """Every group of near-duplicates, the largest picture of each first."""
    with Store(args.store) as store:
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
    command.set_defaults(run=run_build)
    command = commands.add_parser("info", help="say what is in a store")
    command.add_argument("--store", type=folder, required=True)
    command.add_argument(
        "--verify", action="store_true", help="read all of it and compare the checksums"
    )
    command.set_defaults(run=run_info)
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
