"""`evaluation ann`: all index presets over gallery sizes, next to hnswlib and usearch.

On three kinds of vectors: SIFT descriptors of photos, this model's descriptors of crops of photos,
and vectors drawn from a model of those crops, of which there can be a million. Queries are never in
the index. Recall is defined as in `index_store.ann.tune`. Times are for one query after another on
one thread, including rescoring from the stored descriptors.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from command import print_lines, print_text
from evaluation.arguments import count, share
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import DEFAULT_MODEL
from extractor.descriptor.registry import model_path
from index_store.ann.presets import PRESETS
from index_store.ann.tune import Trial

from .ann_measure import KINDS, Case, build, make_cases, measure_index
from .ann_peers import PEERS, check_peers
from .ann_tables import case_rows, draw, growth_rows


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sizes", type=count, nargs="+", default=[10_000, 100_000])
    command.add_argument("--photos", type=Path, default=Path("gallery/photos"))
    command.add_argument("--crops", type=count, default=20_000, help="how many to describe")
    command.add_argument("--data", nargs="+", choices=KINDS, default=KINDS)
    command.add_argument("--indexes", nargs="+", choices=[*PRESETS, *PEERS], metavar="NAME")
    command.add_argument("--recall", type=share, default=0.95, help="10@10 that the tables are for")
    command.add_argument("--model", type=model_path, default=DEFAULT_MODEL)
    command.add_argument(
        "--cache", type=Path, default=Path("stores/ann"), help="keeps vectors and built indexes"
    )
    command.add_argument("--build-only", action="store_true", help="measure later")
    command.add_argument("--plot", type=Path, help="picture, PNG")
    command.add_argument("--json", type=Path, help="write every trial to this file")


def run(args: argparse.Namespace) -> None:
    names = args.indexes or [*PRESETS, *PEERS]
    if set(names) & PEERS.keys():
        check_peers()
    cases = make_cases(args, lambda items, label: tqdm(items, desc=label, disable=None))
    jobs = [(case, name) for case in cases for name in names]
    if args.build_only:
        for case, name in tqdm(jobs, desc="indexes", disable=None):
            build(case, name)
        return
    print_lines(f"Hardware: {hardware()}; searches on one thread, one query after the other.", "")
    measured: dict[Case, list[Trial]] = {case: [] for case in cases}
    for case, name in tqdm(jobs, desc="indexes", disable=None):
        measured[case] += measure_index(case, name)
    for case, trials in measured.items():
        print_text(format_rows(case_rows(case, trials, args.recall)) + "\n")
    if "drawn" in args.data and len(args.sizes) > 1:
        print_text(format_rows(growth_rows(measured, args.recall)))
    if args.json:
        written = [{"case": c.title, **asdict(t)} for c, trials in measured.items() for t in trials]
        args.json.write_text(json.dumps(written, indent=1) + "\n")
    if args.plot:
        draw(measured, args.plot)
