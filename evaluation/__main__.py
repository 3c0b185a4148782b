"""python -m evaluation groups --store STORE --groups groups.json"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from extractor import DEFAULT_MODEL, BadModel, Extractor
from index_store import Store, StoreError
from search import Engine

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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description="Measure what each stage is worth.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("groups", help="photos of the same thing find each other: mAP and recall@1 by stage")
    command.add_argument("--store", type=Path, required=True)
    command.add_argument("--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}')
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--by-group", action="store_true", help="also one line for each group")
    command.set_defaults(run=run_groups)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (BadGroups, BadModel, StoreError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
