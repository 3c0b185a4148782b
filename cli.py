"""The `same-thing` command: all commands of the project, from any folder."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from command import CommandParser, print_error, run_command

ROOT = Path(__file__).resolve().parent
STORE_COMMANDS = {
    "build": "index a folder of photos, or bring its store up to date",
    "update": "bring a store up to date with its folders",
    "watch": "keep a store up to date while photos come and go",
    "add": "add photos of the store's folder",
    "remove": "remove photos from a store",
    "info": "show what a store holds",
    "duplicates": "list photos that are one picture",
    "things": "list photos that show the same thing",
    "compact": "drop the bytes of removed photos",
    "tune": "measure all forms of the index and use the best",
    "push": "search in a Milvus server",
}
PACKAGE_COMMANDS = {
    "search": ("search", "find photos of the same thing"),
    "export": ("export", "turn a descriptor network into one ONNX file"),
    "train": ("model", "train descriptor networks"),
    "evaluate": ("evaluation", "measure what each stage is worth"),
}
EPILOGUE = "`same-thing COMMAND --help` describes a command; `python -m PACKAGE` runs the same."


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in STORE_COMMANDS:
        return run_package("index_store", arguments)
    if arguments and arguments[0] in PACKAGE_COMMANDS:
        return run_package(PACKAGE_COMMANDS[arguments[0]][0], arguments[1:])
    parser = CommandParser(prog="same-thing", description=__doc__, epilog=EPILOGUE)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help in STORE_COMMANDS.items():
        commands.add_parser(name, help=help)
    for name, (_, help) in PACKAGE_COMMANDS.items():
        commands.add_parser(name, help=help)
    add_serve(commands)
    args = parser.parse_args(arguments)
    return int(args.run(args))


def run_package(package: str, arguments: list[str]) -> int:
    """Run `python -m PACKAGE ARGUMENTS...` in this process and return the exit code."""
    try:
        module = importlib.import_module(f"{package}.__main__")
    except ModuleNotFoundError as error:  # such as torch, which only some commands need
        print_error(error)
        return 1
    return int(module.main(arguments))


def add_serve(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `same-thing serve`."""
    command = commands.add_parser("serve", help="serve the page and the API")
    command.add_argument(
        "stores",
        nargs="+",
        type=Path,
        metavar="STORE",
        help="folder of a store; with several, visitors choose the descriptor",
    )
    command.add_argument("--model", type=Path, metavar="FILE", help="the model file of the stores")
    command.add_argument("--port", type=int, default=8501)
    command.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> int:
    """Replace this process with Streamlit's server; return 1 if a store is missing."""
    for store in args.stores:
        if not store.is_dir():
            print_error(
                FileNotFoundError(f"There is no store {store}; build it with `same-thing build`.")
            )
            return 1
    os.environ["GEM_STORE"] = os.pathsep.join(str(store.resolve()) for store in args.stores)
    if args.model:
        os.environ["GEM_MODEL"] = str(args.model.resolve())
    os.chdir(ROOT)  # Streamlit reads its options from .streamlit here
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={args.port}"]
    os.execv(sys.executable, command)


def run() -> None:
    """The entry point of the installed command."""
    run_command(main)


if __name__ == "__main__":
    run()
