"""python -m extractor: print the supported photo formats as a Markdown table.

python -m extractor benchmark [--model NAME] [--store STORE]: measure every available engine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command import CommandParser, exit_code, print_lines, print_text, run_command

from .descriptor.choice import fastest, measure
from .descriptor.extractor import BadModel
from .descriptor.registry import DEFAULT, model_path
from .photo.formats import table


def run_benchmark(args: argparse.Namespace) -> None:
    """Print the measurements; with a store, save the chosen engine there."""
    if args.store is None:
        trials = measure(model_path(args.model or DEFAULT))
    else:
        # Imported here: index_store, which is a layer above, knows where a store saves its engine.
        from index_store.engine_choice import write_engine
        from index_store.errors import StoreError
        from index_store.storage.compatibility import model_of

        try:
            model = model_of(args.store, args.model)
        except StoreError as error:
            raise BadModel(str(error)) from error
        trials = measure(model)
    chosen = fastest(trials)
    print_lines(*trials, f"chosen: {chosen.choice}")
    if args.store is not None:
        write_engine(args.store, chosen.choice.engine, chosen.choice.precision)


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(prog="python -m extractor", description="Formats and engines.")
    commands = parser.add_subparsers(dest="command", metavar="benchmark")
    benchmark = commands.add_parser("benchmark", help="measure every engine, choose the fastest")
    benchmark.add_argument(
        "--model", metavar="NAME", help="a name of `python -m export --models` or a model file"
    )
    benchmark.add_argument(
        "--store", type=Path, help="for the model of this store, which the choice is written into"
    )
    args = parser.parse_args(argv)
    if args.command is None:
        print_text(table())
        return 0
    return exit_code(lambda: run_benchmark(args), OSError, BadModel)


if __name__ == "__main__":
    run_command(main)
