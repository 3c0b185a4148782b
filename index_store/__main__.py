"""python -m index_store build PHOTOS... | update | watch | add PHOTOS | remove FILE... | compact |
duplicates | things | info | tune | push

Each with --store STORE.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

from command import (
    CommandParser,
    print_error,
    print_status,
    run_command,
)
from extractor import (
    DEFAULT_MODEL,
    BadLimit,
    BadModel,
)
from extractor.descriptor.registry import MODELS, model_path

from .ann.presets import DEFAULT_PRESET, EXACT_BELOW, PRESETS
from .ann.remote.collection import TOKEN
from .commands import (
    OWN_INDEX,
    run_add,
    run_build,
    run_compact,
    run_duplicates,
    run_info,
    run_push,
    run_remove,
    run_things,
    run_tune,
    run_update,
    run_watch,
)
from .errors import StoreError
from .sources.exclusion import FILE as PATTERNS


def folder(text: str) -> Path:
    """An argument that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


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
        "--store", type=folder, required=True, help="folder of the store, created if it is missing"
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
        f"`{OWN_INDEX}` searches with the store's own index again",
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
        print_error(error)
        return 1
    except KeyboardInterrupt:
        print_status("", "interrupted: run the same command again to resume")
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
