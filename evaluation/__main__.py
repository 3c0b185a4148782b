"""python -m evaluation groups | extractor  (each with --help)"""

from __future__ import annotations

import argparse
import sys

from extractor import BadModel, BadPhoto
from index_store import StoreError

from . import extractor, groups
from .groups import BadGroups

COMMANDS = (groups, extractor)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description="Measure what each stage is worth.")
    commands = parser.add_subparsers(required=True)
    for module in COMMANDS:
        module.add_command(commands)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (BadGroups, BadModel, BadPhoto, StoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
