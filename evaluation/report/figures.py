"""`evaluation figures`: measure the table of docs/results.json and show it in README.

Every row carries its measurement conditions. Sets and models that are not measured this time keep
their rows.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from command import print_lines, print_text, require_package
from download import DOWNLOADS, named_mirrors, write_json
from extractor import Extractor
from extractor.descriptor.registry import MODELS, model_path
from validation import KNOWN_KEYS, Count, sentence

from ..arguments import amount
from ..data import add_mirrors
from ..datasets import BadDataset
from ..datasets.catalogue import GALLERY, open_names
from ..datasets.fetched import get_dataset
from ..models import ModelRow, format_models, measure
from .conditions import Conditions, conditions
from .results import BadResults

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results.json"
PLOT = "figures.png"  # next to the results
TABLES = (ROOT / "README.md", ROOT / "docs" / "RESULTS.md")  # documents that show the table
BEGIN, END = "<!-- figures: `make figures` writes these lines -->", "<!-- end of figures -->"
SCHEMA = 1
SETS = (GALLERY, *open_names())


@dataclass(frozen=True)
class Figure:
    """One row of the table, its conditions, and the seed of its intervals."""

    __pydantic_config__ = KNOWN_KEYS

    row: ModelRow
    conditions: Conditions
    seed: Count

    @property
    def key(self) -> tuple[str, str]:
        return self.row.photos, self.row.model


@dataclass(frozen=True)
class Figures:
    """Content of docs/results.json."""

    __pydantic_config__ = KNOWN_KEYS

    figures: list[Figure]
    schema: Count = SCHEMA


def read_figures(path: Path) -> Figures:
    """Read a results file; no rows if it does not exist yet.

    Raises:
        BadResults: the file has other content.
    """
    try:
        found = TypeAdapter(Figures).validate_json(path.read_bytes())
    except FileNotFoundError:
        return Figures([])
    except ValidationError as error:
        raise BadResults(f"{path} holds no figures ({sentence(error)}).") from None
    if found.schema != SCHEMA:
        raise BadResults(f"{path} has schema {found.schema}; this version reads {SCHEMA}.")
    return found


def merged(old: Sequence[Figure], new: Sequence[Figure]) -> list[Figure]:
    """All rows, with new ones replacing old ones, by set in the order of SETS."""
    rows = {figure.key: figure for figure in [*old, *new]}
    order = {name: position for position, name in enumerate(SETS)}
    return sorted(rows.values(), key=lambda figure: order.get(figure.row.photos, len(order)))


def format_figures(figures: Figures) -> str:
    """Markdown of the table, and one line per set of conditions."""
    by_conditions: dict[str, list[str]] = {}
    for figure in figures.figures:
        text = str(figure.conditions)
        by_conditions.setdefault(text, []).append(f"{figure.row.photos}, {figure.row.model}")
    if len(by_conditions) == 1:
        lines = [f"Measured: {text}." for text in by_conditions]
    else:
        lines = [f"{'; '.join(rows)}: {text}." for text, rows in by_conditions.items()]
    table = format_models([figure.row for figure in figures.figures])
    return "\n\n".join([table, "\\\n".join(lines)])


def insert(text: str, document: str, name: str) -> str:
    """Replace the text between a document's markers.

    Raises:
        BadResults: the markers are missing or not unique.
    """
    before, begin, ending = document.partition(BEGIN)
    _, end, after = ending.partition(END)
    if not begin or not end or BEGIN in after:
        raise BadResults(f"{name} needs the lines {BEGIN!r} and {END!r}, once and in this order.")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def publish(figures: Figures, results: Path, tables: Sequence[Path]) -> None:
    """Write the results, their plot, and the tables between the markers of the documents.

    Raises:
        BadResults: a document has no markers; nothing is written then.
    """
    text = format_figures(figures)
    documents = {path: insert(text, path.read_text("utf-8"), path.name) for path in tables}
    write_json(results, dataclasses.asdict(figures))
    draw_figures(figures.figures, results.with_name(PLOT))
    for path, document in documents.items():
        path.write_text(document, "utf-8")


def draw_figures(figures: Sequence[Figure], out: Path) -> None:
    """Plot mAP of every stage with its interval, one panel per set, and save the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    sets = list(dict.fromkeys(figure.row.photos for figure in figures))
    canvas = Canvas(figsize=(2 + 3 * len(sets), 3.6), layout="constrained")
    axes = canvas.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, sets):
        rows = [figure.row for figure in figures if figure.row.photos == name]
        for shift, row in enumerate(rows):
            maps = list(row.maps.values())
            means = [estimate.mean for estimate in maps]
            below = [estimate.mean - estimate.low for estimate in maps]
            above = [estimate.high - estimate.mean for estimate in maps]
            positions = [position + 0.15 * shift for position in range(len(maps))]
            axis.errorbar(positions, means, [below, above], fmt="o", capsize=3, label=row.model)
        axis.set_xticks(range(len(rows[0].maps)), [*rows[0].maps], rotation=30, ha="right")
        axis.set_title(name)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("mAP")
    handles, labels = axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    FigureCanvasAgg(canvas).print_png(str(out))


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    command.add_argument(
        "--models", nargs="+", choices=[*MODELS], default=list(MODELS), metavar="MODEL"
    )
    command.add_argument(
        "--data", type=Path, default=DOWNLOADS, metavar="DIR",
        help="holds the sets by their names; what is missing is downloaded there",
    )  # fmt: skip
    command.add_argument("--stores", type=Path, default=Path("stores") / "figures")
    command.add_argument("--seed", type=amount, default=0, help="of the bootstrap")
    command.add_argument(
        "--tables", action="store_true", help="measure nothing: write plot and tables again"
    )
    add_mirrors(command)


def run(args: argparse.Namespace) -> None:
    """Measure each model on each set; results are written after every model."""
    # Fail now, not after an hour of measuring.
    require_package("matplotlib", "requirements-evaluation.txt")
    found = read_figures(RESULTS)
    if args.tables:
        publish(found, RESULTS, TABLES)
        print_text(format_figures(found))
        return
    mirrors = named_mirrors(args.mirror)
    sets = {name: get_dataset(name, args.data / name, mirrors) for name in args.sets}
    for benchmark in sets.values():
        if benchmark.notes:
            raise BadDataset(" ".join(benchmark.notes))
    for model in args.models:
        current_conditions = conditions(Extractor(model_path(model)).engine)
        rows = [
            Figure(row, current_conditions, args.seed)
            for row in measure(model, sets, args.stores, args.seed)
        ]
        found = Figures(merged(found.figures, rows))
        publish(found, RESULTS, TABLES)
    print_text(format_figures(found))
    print_lines("", f"Written: {RESULTS}, its plot, and the tables of README and RESULTS.")
