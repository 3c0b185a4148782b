"""python -m search PHOTO... --store STORE [--diffusion] [--sift] [-k 20] [--json]  (and --help)"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from command import CommandParser, complain, print_lines, print_status, print_text, run_command
from extractor import BadModel, BadPhoto, Extractor, Region
from extractor import read_bytes as read_photo_bytes
from index_store import Store, StoreError, model_of

from .engine import Engine
from .fuse import UNCALIBRATED
from .fusion.calibration import BadCalibration
from .rerank.reranker import RERANKERS
from .result import SearchResult
from .verify.matcher import MATCHERS


def format_hits(result: SearchResult) -> list[str]:
    """The lines of the answer as a plain-text table, with the time of each stage."""
    lines = ["rank  the same?     similarity  points  photo"]
    for rank, hit in enumerate(result.hits, 1):
        points = str(hit.inliers) if hit.verified else ""
        chance = "" if hit.probability is None else f"{hit.probability:4.0%}"
        judged = f"{hit.confidence:6s} {chance:4s}"
        lines.append(f"{rank:4d}  {judged}  {hit.similarity:12.3f}  {points:>6s}  {hit.file}")
    lines.append("")
    lines.append(", ".join(f"{stage} {ms:.1f} ms" for stage, ms in result.timings_ms.items()))
    return lines + result.notes


def region(text: str) -> Region:
    """Four fractions with commas between, for argparse."""
    left, top, right, bottom = (float(part) for part in text.split(","))
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(text)
    return left, top, right, bottom


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = CommandParser(prog="python -m search", description="Find photos of the same thing.")
    parser.add_argument(
        "photos",
        type=Path,
        nargs="+",
        metavar="PHOTO",
        help="a JPEG, PNG or WebP photo; several show one thing and are searched with together",
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--model",
        help="descriptor model, for a store of one that is not the project's own",
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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.k < 1:
        parser.error("-k must be at least 1")
    if args.region and len(args.photos) > 1:
        parser.error("--region belongs to a single photo")
    try:
        extractor = Extractor(model_of(args.store, args.model))
        engine = Engine(Store(args.store, extractor), extractor)
        if not engine.is_calibrated(args.rerank, args.match):
            print_status(f"warning: {UNCALIBRATED}")
        query = engine.prepare(
            [read_photo_bytes(path) for path in args.photos],
            args.region,
            matchers=[args.match] if args.match else [],
        )
        result = engine.search(query, rerank=args.rerank, verify=args.match, k=args.k)
    except (BadCalibration, BadPhoto, BadModel, StoreError, OSError) as error:
        complain(error)
        return 1
    names = [str(path) for path in args.photos]
    if args.json:
        print_text(json.dumps(result.to_dict(names[0] if len(names) == 1 else names), indent=2))
    else:
        print_lines(*format_hits(result))
    return 0


if __name__ == "__main__":
    run_command(main)
