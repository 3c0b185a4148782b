"""python -m index_store build PHOTOS --store STORE  |  python -m index_store info --store STORE"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from command import run_command
from extractor import DEFAULT_MODEL, BadModel, available_cores, choose_extractor
from extractor.registry import MODELS, model_path

from .builder import CANDIDATES, RECALL_CANDIDATES, build, described_before
from .errors import StoreError
from .similarity_map import kept_map
from .store import Store
from .terminal import printable, tolerate_any_text


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
    """Verify a store and say what is in it."""
    with Store(args.store) as store:
        manifest = store.manifest
        ann = manifest.parameters["ann"]
        size = sum(artefact["bytes"] for artefact in manifest.artefacts.values())
        diffusion = manifest.parameters["diffusion"]
        rows = {
            "photos": f"{manifest.photos} from {manifest.photos_root}",
            "left out": manifest.skipped,
            "generation": f"{store.generation}, built {manifest.created}, {size / 2**20:.1f} MB, "
            "checksums verified",
            "model": f"{manifest.model['architecture']}, {manifest.dim} dimensions, "
            f"longest side {manifest.model['longest_side']}",
            "described": "{precision} by {engine}".format(**manifest.described_by),
            "fingerprint": manifest.fingerprint[:16],
            "index": f"IVF{ann['nlist']},PQ{ann['codes']}x{ann['bits']}, "
            f"{ann['nprobe']} lists visited",
            "recall@10": f"{manifest.shortlist_recall} among the index's first "
            f"{RECALL_CANDIDATES}; a query rescores {CANDIDATES}",
            "diffusion": ", ".join(f"{name} {value}" for name, value in diffusion.items()),
        }
        for name, value in rows.items():
            print(f"{name:12s} {printable(value)}")
        print_left_out(store)


def print_left_out(store: Store) -> None:
    """Every file that is not in a store, with the reason."""
    for entry in store.catalogue.skipped():
        print(f"  left out: {printable(entry.file)}: {printable(entry.reason)}")


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
    command = commands.add_parser("info", help="verify a store and say what is in it")
    command.add_argument("--store", type=folder, required=True)
    command.set_defaults(run=run_info)
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
