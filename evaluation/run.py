"""`evaluation run`: build a store if necessary, run a data set's queries, judge the results."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from command import bar, print_lines, print_text
from extractor import DEFAULT_MODEL, Extractor
from extractor.descriptor.registry import model_path
from index_store import CANDIDATES, Store
from search import RERANKERS, Engine

from .arguments import amount
from .benchmark_store import open_or_build
from .datasets import READERS, BadDataset, Benchmark, read_dataset
from .exact import exactly
from .measure import Methods, search_all, summarise
from .report.conditions import conditions
from .report.results import Results, format_results, write_results
from .studies.retrieval.distractors import SIZES, hide

BASE = "rerank off"
PUBLISHED = (
    "As in the published protocol, photos are decoded as they are stored (not turned by EXIF, "
    "transparency dropped), and every query ranks the whole gallery by exact similarity; the page "
    "turns photos upright and ranks the candidates that its index proposes."
)
METHODS: Methods = {
    BASE: {},
    **{name: {"rerank": name} for name in RERANKERS},
    "SIFT": {"verify": "sift"},
    **{f"{name} + SIFT": {"rerank": name, "verify": "sift"} for name in RERANKERS},
}
STAGES: Methods = {  # combinations of the page's toggles
    name: METHODS[name] for name in (BASE, "diffusion", "SIFT", "diffusion + SIFT")
}
LEARNED: Methods = {  # only on request: their models are not part of the repository
    "XFeat": {"verify": "xfeat"},
    "diffusion + XFeat": {"rerank": "diffusion", "verify": "xfeat"},
}


def evaluate(
    store: Store,
    extractor: Extractor,
    benchmark: Benchmark,
    methods: Methods,
    seed: int,
    model: str,
    command: str = "",
) -> Results:
    """Run all methods on all queries, and add the facts that a reader needs.

    Args:
        store: store of the benchmark's gallery.
        extractor: extractor that the store was built with.
        benchmark: queries and ground truth.
        methods: methods to run.
        seed: seed of the bootstrap.
        model: display name of the model.
        command: command line.

    Raises:
        As `search_all` and `summarise`.
    """
    manifest = store.manifest
    notes = list(benchmark.notes)
    if left_out := store.catalogue.skipped():
        notes.append(
            f"Gallery photos that are not in the store: {len(left_out)}, the first: "
            f"{left_out[0].file}."
        )
    if benchmark.published:
        notes.append(PUBLISHED)
        store = exactly(store)
    elif len(store) > CANDIDATES:
        notes.append(
            f"A ranking holds the index's candidates, about {CANDIDATES} of {len(store)} photos; "
            "positives beyond them count as not found."
        )
    answers = search_all(
        Engine(store, extractor),
        benchmark,
        methods,
        lambda queries: bar(queries, len(benchmark.queries), "queries"),
    )
    return Results(
        dataset=benchmark.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        seed=seed,
        hardware=str(conditions(extractor.engine)),
        model={
            "name": model,
            "architecture": manifest.model["architecture"],
            "dimensions": manifest.dim,
            "longest_side": manifest.model["longest_side"],
            "fingerprint": manifest.fingerprint,
        },
        store={
            "path": str(store.path.resolve()),
            "photos": len(store),
            "parameters": manifest.parameters,
        },
        notes=notes + answers.notes,
        methods=list(methods),
        main=benchmark.main,
        setups=summarise(benchmark, answers.queries, methods, seed),
        stage_ms=answers.stage_ms,
        queries=answers.queries,
    )


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", required=True, choices=READERS)
    command.add_argument(
        "--root", type=Path, required=True, help="folder of the data set, in its published layout"
    )
    command.add_argument(
        "--groups",
        type=Path,
        help='of "groups": JSON {"name": ["file", ...], ...} if not beside the photos',
    )
    command.add_argument(
        "--store",
        type=Path,
        help="used as it is if there, built if not (default: beside --out, or in stores/)",
    )
    command.add_argument("--model", type=model_path, default=DEFAULT_MODEL, metavar="NAME")
    command.add_argument(
        "--methods", nargs="+", choices=METHODS | LEARNED, default=list(METHODS), metavar="METHOD"
    )
    command.add_argument(
        "--out", type=Path, help="JSON file for everything found; `report` makes a page of it"
    )
    command.add_argument("--seed", type=amount, default=0, help="of the bootstrap")
    command.add_argument(
        "--distractors",
        type=Path,
        metavar="FOLDER",
        help="hide the data set among photos of this folder that show none of its things",
    )
    command.add_argument(
        "--sizes",
        type=amount,
        nargs="+",
        default=list(SIZES),
        help="how many of them (default 0 3000 10000 30000)",
    )


def run_hidden(args: argparse.Namespace, benchmark: Benchmark) -> None:
    """Print a table of the benchmark's photos among increasingly many others."""
    extractor = Extractor(args.model)
    if args.out is None:
        raise BadDataset("--distractors needs --out: a folder of that name holds the large stores.")
    table = hide(
        benchmark,
        args.distractors,
        args.out.with_suffix(".hidden"),
        extractor,
        lambda store, hidden: evaluate(
            store, extractor, hidden, STAGES, args.seed, args.model.stem
        ),
        args.sizes,
    )
    print_lines(f"{args.model.stem}, {conditions(extractor.engine)}", "")
    print_text(table)


def run(args: argparse.Namespace) -> None:
    """Run a data set's queries, on its own or among other photos."""
    benchmark = read_dataset(args.dataset, args.root, args.groups)
    if args.distractors:
        run_hidden(args, benchmark)
        return
    extractor = Extractor(args.model)
    path = args.store or (
        args.out.with_suffix(".store") if args.out else Path("stores") / args.dataset
    )
    store = open_or_build(benchmark, path, extractor)
    results = evaluate(
        store,
        extractor,
        benchmark,
        {name: how for name, how in (METHODS | LEARNED).items() if name in args.methods},
        args.seed,
        args.model.stem,
        f"python -m evaluation {shlex.join(sys.argv[1:])}",
    )
    print_text(format_results(results))
    if args.out:
        write_results(results, args.out)
