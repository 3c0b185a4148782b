"""python -m index_store build PHOTOS --store STORE  |  python -m index_store info --store STORE"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from pathlib import Path

from tqdm import tqdm

from command import run_command
from extractor import DEFAULT_MODEL, BadModel, available_cores, choose_extractor

from .builder import RECALL_SHORTLIST, SHORTLIST, build
from .errors import StoreError
from .store import Store


def bar(items, total: int, what: str):
    """A progress bar on standard error; into a log file it writes every few seconds only."""
    often = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(
        items, total=total, desc=f"{what:10s}", unit="", mininterval=often, dynamic_ncols=True
    )


def run_build(args: argparse.Namespace) -> None:
    extractor, choice = choose_extractor(args.model, calls=available_cores())
    print(f"descriptors: {choice}", file=sys.stderr)
    manifest = build(args.photos, args.store, extractor, bar)
    print(f"{manifest.photos} photos indexed, {manifest.skipped} left out: {args.store}")
    if manifest.skipped:
        for entry in Store(args.store).catalogue.skipped():
            print(f"  left out: {entry.file}: {entry.reason}")


def run_info(args: argparse.Namespace) -> None:
    store = Store(args.store)
    manifest = store.manifest
    ann = manifest.parameters["ann"]
    size = sum(artefact["bytes"] for artefact in manifest.artefacts.values())
    rows = {
        "photos": f"{manifest.photos} from {manifest.photos_root}",
        "left out": manifest.skipped,
        "generation": f"{store.folder.name}, built {manifest.created}, {size / 2**20:.1f} MB, checksums verified",
        "model": f"{manifest.model['architecture']}, {manifest.dim} dimensions, longest side {manifest.model['longest_side']}",
        "fingerprint": manifest.fingerprint[:16],
        "index": f"IVF{ann['nlist']},PQ{ann['codes']}x{ann['bits']}, {ann['nprobe']} lists visited",
        "recall@10": f"{manifest.shortlist_recall} among the index's first {RECALL_SHORTLIST}; a query rescores {SHORTLIST}",
        "diffusion": ", ".join(f"{k} {v}" for k, v in manifest.parameters["diffusion"].items()),
    }
    for name, value in rows.items():
        print(f"{name:12s} {value}")
    for entry in store.catalogue.skipped():
        print(f"  left out: {entry.file}: {entry.reason}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m index_store", description="Make a folder of photos searchable."
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="index a folder, or bring its store up to date")
    command.add_argument(
        "photos",
        type=Path,
        help="folder of JPEG, PNG and WebP photos, searched with its sub-folders",
    )
    command.add_argument(
        "--store", type=Path, required=True, help="folder of the store, made if it is missing"
    )
    command.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        help="descriptor model (default: the shipped one)",
    )
    command.set_defaults(run=run_build)
    command = commands.add_parser("info", help="verify a store and say what is in it")
    command.add_argument("--store", type=Path, required=True)
    command.set_defaults(run=run_info)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # for run_command
    except (StoreError, BadModel, OSError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted: run the same command again to go on where it stopped", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
