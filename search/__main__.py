"""python -m search PHOTO... --store STORE [--diffusion] [--sift] [-k 20] [--json | --each]

See --help.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from command import (
    CommandParser,
    message_of,
    print_error,
    print_lines,
    print_status,
    print_text,
    run_command,
)
from extractor import (
    BadLimit,
    BadModel,
    BadPhoto,
    Extractor,
    Region,
    owner_limits,
    read_bytes,
    read_stream,
)
from extractor.photo.crop import inside_photo
from index_store import Store, StoreError, model_of

from .engine import Engine
from .fusion.apply import UNCALIBRATED
from .fusion.calibration import BadCalibration
from .rerank.reranker import RERANKERS
from .result import SearchResult
from .stages.agreement import DIFFERENT
from .verify.matcher import MATCHERS

STDIN = "-"  # stands for a photo from standard input


def format_hits(result: SearchResult) -> list[str]:
    """The result as a plain-text table, with the time of each stage."""
    lines = ["rank  the same?     similarity  points  photo"]
    for rank, hit in enumerate(result.hits, 1):
        points = str(hit.inliers) if hit.verified else ""
        chance = "" if hit.probability is None else f"{hit.probability:4.0%}"
        found = "  (found by its details)" if hit.by_details else ""
        found = f"  (through {hit.chain[-2].file})" if hit.chain else found
        found = "  (the same photo)" if hit.identical else found
        judged = f"{hit.confidence:6s} {chance:4s}"
        lines.append(
            f"{rank:4d}  {judged}  {hit.similarity:12.3f}  {points:>6s}  {hit.file}{found}"
        )
    lines.append("")
    lines.append(", ".join(f"{stage} {ms:.1f} ms" for stage, ms in result.timings_ms.items()))
    hint = {DIFFERENT: f"{DIFFERENT} --each does so."}
    return lines + [hint.get(note, note) for note in result.notes]


def region(text: str) -> Region:
    """Parse four fractions separated by commas, for argparse."""
    left, top, right, bottom = map(float, text.split(","))
    return inside_photo((left, top, right, bottom))


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = CommandParser(prog="python -m search", description="Find photos of the same thing.")
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="a photo in any supported format, `-` for one from standard input; several show "
        "one thing and make one query, unless --each is given",
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--model", help="descriptor model, for a store of one that is not the project's own"
    )
    rerank = parser.add_mutually_exclusive_group()
    rerank.add_argument(
        "--rerank", choices=RERANKERS, metavar="NAME", help=f"rerank by {', '.join(RERANKERS)}"
    )
    rerank.add_argument(
        "--diffusion",
        dest="rerank",
        action="store_const",
        const="diffusion",
        help="--rerank diffusion",
    )
    match = parser.add_mutually_exclusive_group()
    match.add_argument(
        "--match",
        choices=MATCHERS,
        metavar="NAME",
        help=f"verify the best by {', '.join(MATCHERS)}",
    )
    match.add_argument(
        "--sift", dest="match", action="store_const", const="sift", help="--match sift"
    )
    parser.add_argument(
        "--region",
        type=region,
        metavar="L,T,R,B",
        help="the part of a single photo that counts: left, top, right, bottom as fractions of its "
        "size, e.g. 0.2,0,0.8,0.5",
    )
    parser.add_argument("-k", type=int, default=20, help="how many photos to show (default 20)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument(
        "--each",
        action="store_true",
        help="search with each photo separately and print JSON lines, one object a photo; a photo "
        'that cannot be read yields {"query": ..., "error": ...}, and the exit code is 1 then',
    )
    return parser


def read_query(name: str) -> bytes:
    """Bytes of a photo, read from standard input for STDIN. Raises BadPhoto, OSError."""
    limits = owner_limits()
    return read_stream(sys.stdin.buffer, limits) if name == STDIN else read_bytes(name, limits)


def search_each(names: Sequence[str], search: Callable[[list[str]], SearchResult]) -> int:
    """Search with each photo separately; print one JSON object per line.

    Args:
        names: names of the photos.
        search: function that searches with the named photos. Raises BadPhoto and OSError for
            photos that cannot be read.

    Returns:
        The exit code: 1 if a photo could not be read.
    """
    failed = False
    hidden = True if sys.stdout.isatty() else None  # None: hidden unless stderr is a terminal
    for name in tqdm(names, desc="photos", unit="", disable=hidden):
        try:
            found = search([name]).to_dict(name)
        except (BadPhoto, OSError) as error:
            failed = True
            found = {"query": name, "error": message_of(error)}
        print_lines(json.dumps(found))
    return int(failed)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.k < 1:
        parser.error("-k must be at least 1")
    names: list[str] = args.photos
    if args.region and len(names) > 1 and not args.each:
        parser.error("--region belongs to a single photo")
    if names.count(STDIN) > 1:
        parser.error("standard input holds one photo: `-` can be given only once")
    try:
        extractor = Extractor(model_of(args.store, args.model))
        engine = Engine(Store(args.store, extractor), extractor)
        if not engine.is_calibrated(args.rerank, args.match):
            print_status(f"warning: {UNCALIBRATED}")
        matchers = [args.match] if args.match else []

        def search(names: list[str]) -> SearchResult:
            photos = [read_query(name) for name in names]
            query = engine.prepare(photos, args.region, matchers)
            return engine.search(query, args.rerank, args.match, args.k)

        if args.each:
            return search_each(names, search)
        result = search(names)
    except BrokenPipeError:
        raise  # handled by run_command
    except (BadCalibration, BadLimit, BadPhoto, BadModel, StoreError, OSError) as error:
        print_error(error)
        return 1
    if args.json:
        print_text(json.dumps(result.to_dict(names[0] if len(names) == 1 else names), indent=2))
    else:
        print_lines(*format_hits(result))
    return 0


if __name__ == "__main__":
    run_command(main)
