"""`evaluation run`: build a store if necessary, run a data set's queries, judge the results."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from command import bar, print_text
from extractor import DEFAULT_MODEL, Extractor
from extractor.descriptor.registry import model_path
from index_store import CANDIDATES, Store, StoreMissing, build
from index_store.global_artifacts import Progress, silent
from index_store.sources.scan import scan
from search import RERANKERS, Engine

from .arguments import amount
from .datasets import READERS, BadDataset, Benchmark, read_dataset
from .datasets.names import inside
from .exact import exactly
from .measure import Methods, ask, summarise
from .report.conditions import conditions
from .report.results import Results, format_results, write_results

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
STAGES = (BASE, "diffusion", "SIFT", "diffusion + SIFT")  # combinations of the page's toggles
LEARNED: Methods = {  # only on request: their models are not part of the repository
    "XFeat": {"verify": "xfeat"},
    "diffusion + XFeat": {"rerank": "diffusion", "verify": "xfeat"},
}


def open_or_build(
    benchmark: Benchmark, path: Path, extractor: Extractor, progress: Progress = silent
) -> Store:
    """Open or build the store of exactly the benchmark's gallery.

    The store is at `path`, or is built there; a killed build resumes. A folder with more photos
    than the gallery is not indexed directly (revisited Oxford's includes the queries). Then a
    folder of links is created next to the store.

    Args:
        benchmark: gallery, and how its photos are decoded.
        path: path of the store.
        extractor: extractor that describes the photos.
        progress: wraps long stages.

    Raises:
        BadDataset: the store at `path` holds other photos, or they were decoded differently.
        StoreError, BadModel, OSError: see `Store` and `build`.
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
    """Create a folder with links to the gallery's photos, and nothing else.

    The links are created in a temporary folder, which is renamed when it is complete. An existing
    folder is used if it holds exactly these links. Otherwise it is left alone.

    Args:
        benchmark: gallery; its file names must stay inside `benchmark.root`.
        folder: target folder.

    Returns:
        `folder`.

    Raises:
        BadDataset: there is something else at `folder`, or a photo's name leads outside.
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
    """Links in a folder and their targets; None if it contains anything else except folders."""
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
    extractor: Extractor,
    benchmark: Benchmark,
    methods: Methods,
    seed: int,
    model: str,
    command: str,
    progress: Callable[[list], Iterable] = iter,
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
    command.add_argument("--seed", type=amount, default=0, help="of the bootstrap")
    command.set_defaults(run=run)


def queries_bar(queries: list) -> Iterable:
    """Progress bar over a list of queries."""
    return bar(queries, len(queries), "queries")


def run(args: argparse.Namespace) -> None:
    """Run a data set's queries."""
    benchmark = read_dataset(args.dataset, args.root, args.groups)
    extractor = Extractor(args.model)
    path = args.store or (
        args.out.with_suffix(".store") if args.out else Path("stores") / args.dataset
    )
    store = open_or_build(benchmark, path, extractor, bar)
    results = evaluate(
        store,
        extractor,
        benchmark,
        {name: how for name, how in (METHODS | LEARNED).items() if name in args.methods},
        args.seed,
        args.model.stem,
        f"python -m evaluation {shlex.join(sys.argv[1:])}",
        queries_bar,
    )
    print_text(format_results(results))
    if args.out:
        write_results(results, args.out)
