"""python -m search QUERY --store STORE [--diffusion | --rerank NAME] [--sift | --match NAME] [-k 20] [--json]"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from extractor import DEFAULT_MODEL, BadModel, BadPhoto, Extractor, Region
from extractor import read_bytes as read_photo_bytes
from index_store import Store, StoreError

from .engine import UNCALIBRATED, Engine
from .rerank.reranker import RERANKERS
from .result import SearchResult
from .verify.matcher import MATCHERS


def format_hits(result: SearchResult) -> str:
    """The answer as a plain-text table, with the time of each stage."""
    lines = ["rank  the same?     similarity  points  photo"]
    for rank, hit in enumerate(result.hits, 1):
        points = str(hit.inliers) if hit.verified else ""
        judged = "" if hit.probability is None else f"{hit.confidence:6s} {hit.probability:4.0%}"
        lines.append(f"{rank:4d}  {judged:11s}  {hit.similarity:12.3f}  {points:>6s}  {hit.file}")
    lines.append("")
    lines.append(", ".join(f"{stage} {ms:.1f} ms" for stage, ms in result.timings_ms.items()))
    return "\n".join(lines + result.notes)


def region(text: str) -> Region:
    """Four fractions with commas between, for argparse."""
    left, top, right, bottom = (float(part) for part in text.split(","))
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(text)
    return left, top, right, bottom


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search", description="Find photos of the same thing."
    )
    parser.add_argument("query", type=Path, help="a JPEG, PNG or WebP photo")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        help="descriptor model (default: the shipped one)",
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
        help="the part of the query that counts: left, top, right, bottom as fractions of its size, e.g. 0.2,0,0.8,0.5",
    )
    parser.add_argument("-k", type=int, default=20, help="how many photos to show (default 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    if args.k < 1:
        parser.error("-k must be at least 1")
    try:
        extractor = Extractor(args.model)
        engine = Engine(Store(args.store, extractor), extractor)
        if not engine.is_calibrated(args.rerank, args.match):
            print(f"warning: {UNCALIBRATED}", file=sys.stderr)
        result = engine.search(
            read_photo_bytes(args.query),
            diffusion=bool(args.rerank),
            reranker=args.rerank or "diffusion",
            sift=bool(args.match),
            matcher=args.match or "sift",
            region=args.region,
            k=args.k,
        )
    except (BadPhoto, BadModel, StoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(result.to_dict(str(args.query)), indent=2) if args.json else format_hits(result)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
