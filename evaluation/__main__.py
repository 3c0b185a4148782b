"""python -m evaluation groups --store STORE --groups groups.json | extractor --photos PHOTOS [--groups groups.json]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from extractor import DEFAULT_MODEL, BadModel, BadPhoto, Extractor
from index_store import Store, StoreError
from search import Engine

from .extractor import format_rows, measure
from .groups import BadGroups, evaluate_groups, format_table, read_groups


def run_groups(args: argparse.Namespace) -> None:
    extractor = Extractor(args.model)
    engine = Engine(Store(args.store, extractor), extractor)
    groups = read_groups(args.groups, engine.store)
    results = evaluate_groups(engine, groups, lambda pairs: tqdm(pairs, desc="queries", disable=None))
    print(format_table(results))
    if args.by_group:
        print(f"\n{'mAP':>30s}  " + "  ".join(f"{r.method:>16s}" for r in results))
        for name, ids in groups.items():
            print(f"{name[:24]:>24s} ({len(ids):3d})  " + "  ".join(f"{r.group_map[name]:16.3f}" for r in results))


def run_extractor(args: argparse.Namespace) -> None:
    rows = measure(
        args.model, args.photos, args.groups, args.sizes, args.multi, lambda jobs: tqdm(jobs, desc="ways", disable=None)
    )
    print(format_rows(rows))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description="Measure what each stage is worth.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("groups", help="photos of the same thing find each other: mAP and recall@1 by stage")
    command.add_argument("--store", type=Path, required=True)
    command.add_argument("--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}')
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--by-group", action="store_true", help="also one line for each group")
    command.set_defaults(run=run_groups)
    command = commands.add_parser("extractor", help="speed and mAP of every way to run the network")
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, help="groups of these photos, for mAP; without them only speed and cosine"
    )
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--sizes", type=int, nargs="+", default=[224, 362, 480, 1024], help="longest sides, pixels")
    command.add_argument("--multi", action="store_true", help="also with three scales")
    command.set_defaults(run=run_extractor)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (BadGroups, BadModel, BadPhoto, StoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
