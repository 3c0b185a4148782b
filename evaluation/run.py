"""From photos to the table: a store is built if need be, queries are asked, answers judged."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from command import bar, print_lines, print_text
from extractor import DEFAULT_MODEL, Extractor
from extractor.descriptor.registry import model_path
from index_store import CANDIDATES, Store, StoreMissing, build
from index_store.global_artifacts import Progress, silent
from index_store.sources.scan import scan
from search import RERANKERS, Engine

from .arguments import amount, share, size
from .datasets import READERS, BadDataset, Benchmark, read_dataset
from .datasets.names import inside
from .exact import exactly
from .measure import Methods, ask, summarise
from .report.conditions import conditions
from .report.results import Results, format_results, write_results
from .studies.retrieval.distractors import SIZES, draw_hidden, format_hidden, hide
from .studies.retrieval.simulate import Simulated, noisy, oracle

BASE = "rerank off"
PUBLISHED = (
    "As in the published protocol, photos are decoded as they are stored (not turned by EXIF, "
    "transparency dropped), and every query ranks the whole gallery by exact similarity; the page "
    "turns photos upright and looks at what its index proposes."
)
METHODS: Methods = {
    BASE: {},
    **{name: {"rerank": name} for name in RERANKERS},
    "SIFT": {"verify": "sift"},
    **{f"{name} + SIFT": {"rerank": name, "verify": "sift"} for name in RERANKERS},
}
STAGES = (BASE, "diffusion", "SIFT", "diffusion + SIFT")  # what the page's toggles can be set to
LEARNED: Methods = {  # only when asked for: their models are not part of the repository
    "XFeat": {"verify": "xfeat"},
    "diffusion + XFeat": {"rerank": "diffusion", "verify": "xfeat"},
}


def open_or_build(
    benchmark: Benchmark, path: Path, extractor: Extractor, progress: Progress = silent
) -> Store:
    """The store of exactly the benchmark's gallery.

    It is the one at `path`, or is made there; a killed build goes on where it was. A folder that
    holds more photos than the gallery is not indexed itself (revisited Oxford's holds the queries,
    too). Then the store gets a folder of links beside it.

    Args:
        benchmark: says which photos, and how they are decoded.
        path: of the store.
        extractor: describes them.
        progress: wraps what takes long.

    Raises:
        BadDataset: the store at `path` is of other photos, or they were decoded in another way.
        StoreError, BadModel, OSError: as `Store` and `build`.
    """
    try:
        store = Store(path, extractor)
    except StoreMissing:
        root = benchmark.root
        if scan(root).files != benchmark.gallery:
            root = link_gallery(benchmark, path.with_name(f"{path.name}-gallery"))
        build(root, path, extractor, progress, as_stored=benchmark.published)
        store = Store(path, extractor)
    held = {photo.file for photo in store.catalogue.photos()}
    known = held | {entry.file for entry in store.catalogue.skipped()}
    if other := sorted((held - set(benchmark.gallery)) | (set(benchmark.gallery) - known)):
        raise BadDataset(
            f"The store at {path} is not of the gallery of {benchmark.name}: {other[0]} is in one "
            f"of them only. "
            "Name another place with --store, and it will be built there."
        )
    if store.as_stored != benchmark.published:
        raise BadDataset(
            f"The photos of the store at {path} were decoded in another way than {benchmark.name} "
            "asks for (as they are stored, or upright on white). Name another place with --store, "
            "and it will be built there."
        )
    return store


def link_gallery(benchmark: Benchmark, folder: Path) -> Path:
    """A folder with links to the gallery's photos, and nothing else.

    The links are made in a fresh folder, which takes its name when it is complete. A folder that is
    there already is used if it holds just these links. Otherwise it is left alone, whoever made it.

    Args:
        benchmark: says which photos; their names lead nowhere but down from `benchmark.root`.
        folder: where the links are wanted.

    Returns:
        `folder`.

    Raises:
        BadDataset: something else is at `folder`, or a photo's name leads out of it.
    """
    try:
        wanted = {inside(file): (benchmark.root / file).resolve() for file in benchmark.gallery}
    except ValueError as error:
        raise BadDataset(f"The gallery of {benchmark.name} cannot be linked: {error}.") from None
    if folder.exists() or folder.is_symlink():
        if links_in(folder) != wanted:
            raise BadDataset(
                f"{folder} is in the way: it is not the folder of links to the gallery of "
                f"{benchmark.name}. Move it away, or name another place with --store."
            )
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as made:
        links = Path(made) / "links"
        links.mkdir()
        for file, photo in wanted.items():
            (links / file).parent.mkdir(parents=True, exist_ok=True)
            (links / file).symlink_to(photo)
        links.rename(folder)
    return folder


def links_in(folder: Path) -> dict[str, Path] | None:
    """Links below a folder and where they lead; None if there is anything else but folders."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = path.readlink()
        elif not path.is_dir():
            return None
    return found


def evaluate(
    store: Store,
    extractor: Extractor | Simulated,
    benchmark: Benchmark,
    methods: Methods,
    seed: int,
    model: str,
    command: str,
    progress: Callable[[list], Iterable] = iter,
) -> Results:
    """All methods on all queries, with everything a reader must know beside the numbers.

    Args:
        store: of the benchmark's gallery.
        extractor: that the store was made with.
        benchmark: what to ask, and what is right.
        methods: how to ask.
        seed: of the bootstrap.
        model: the name to show.
        command: what was typed.
        progress: wraps the list of queries.

    Raises:
        As `ask` and `summarise`.
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
            f"A ranking holds what the search looks at, about {CANDIDATES} of {len(store)} photos; "
            f"positives beyond it count as "
            "not found."
        )
    answers = ask(Engine(store, extractor), benchmark, methods, progress)
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


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `run` to the command line's sub-parsers."""
    command = commands.add_parser(
        "run", help="a data set from its photos to the table of all methods, with intervals"
    )
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
    command.add_argument("--seed", type=amount, default=0, help="of the bootstrap and of --noise")
    simulation = command.add_mutually_exclusive_group()
    simulation.add_argument(
        "--noise",
        type=size,
        metavar="LENGTH",
        help="simulate a weaker net: add Gaussian noise of this expected length to every "
        "descriptor (their length is 1)",
    )
    simulation.add_argument(
        "--oracle",
        type=share,
        metavar="WEIGHT",
        help="simulate a stronger net: move each photo by WEIGHT (0 to 1) towards the mean of the "
        "OTHER photos of its thing. "
        "It uses the labels: what comes out says what the stages do with such descriptors, and "
        "nothing about the net",
    )
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
    command.set_defaults(run=run)


def run_hidden(args: argparse.Namespace, benchmark: Benchmark) -> None:
    """The benchmark's photos among ever more others: the table, and its picture beside --out."""
    extractor = Extractor(args.model)
    if args.out is None:
        raise BadDataset("--distractors needs --out: a folder of that name holds the large stores.")
    rows = hide(
        benchmark,
        args.distractors,
        args.out.with_suffix(".hidden"),
        extractor,
        {stage: METHODS[stage] for stage in STAGES},
        lambda store, hidden, methods: evaluate(
            store, extractor, hidden, methods, args.seed, args.model.stem, "", queries_bar
        ),
        bar,
        args.sizes,
    )
    print_lines(f"{args.model.stem}, {conditions(extractor.engine)}", "")
    print_text(format_hidden(rows))
    draw_hidden(rows, args.out.with_suffix(".png"))


def queries_bar(queries: list) -> Iterable:
    """Progress through a list of queries."""
    return bar(queries, len(queries), "queries")


def run(args: argparse.Namespace) -> None:
    """Ask a data set's queries, or the same among other photos."""
    benchmark = read_dataset(args.dataset, args.root, args.groups)
    if args.distractors:
        run_hidden(args, benchmark)
        return
    model = args.model.stem
    things = benchmark.things() if args.oracle is not None else []
    extractor = Extractor(args.model)
    path = args.store or (
        args.out.with_suffix(".store") if args.out else Path("stores") / args.dataset
    )
    store = open_or_build(benchmark, path, extractor, bar)
    if args.noise is not None:
        store, extractor = noisy(store, extractor, args.noise, args.seed, bar)
        model += f" + simulated noise of length {args.noise:g}"
    if args.oracle is not None:
        store, extractor = oracle(store, extractor, things, args.oracle, bar)
        model += f" + {args.oracle:g} of an oracle that knows the labels (simulation)"
    results = evaluate(
        store,
        extractor,
        benchmark,
        {name: how for name, how in (METHODS | LEARNED).items() if name in args.methods},
        args.seed,
        model,
        f"python -m evaluation {shlex.join(sys.argv[1:])}",
        queries_bar,
    )
    print_text(format_results(results))
    if args.out:
        write_results(results, args.out)
