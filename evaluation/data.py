"""`evaluation data`: list the named data sets; download, verify and unpack one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from command import print_lines, print_text
from download import DOWNLOADS, MIRRORS, named_mirrors
from plurals import quantity

from .datasets import BadDataset
from .datasets.catalogue import (
    GALLERY,
    GALLERY_PHOTOS,
    open_names,
    open_set,
    published_sets,
    set_names,
)
from .datasets.fetched import get_dataset, named_dataset
from .report.results import format_rows


def format_sets() -> str:
    """Markdown table of all data sets, and where they are."""
    rows = [["name", "what", "from", "licence", "here"]]
    for name in set_names():
        if name == GALLERY:
            description, source = "landmarks of the sample gallery", "this repository"
            licence = "gallery/CREDITS.md"
        elif name in open_names():
            labelled = open_set(name)
            description = f"{labelled.title}; {quantity(len(labelled.photos), 'photo')}"
            source = quantity(len(labelled.licences), "public repository", "public repositories")
            unstated = sum(licence == "none stated" for licence in labelled.licences.values())
            licence = f"that of each repository; {unstated} state none"
        else:
            published = published_sets()[name]
            description, source, licence = published.title, published.page, published.licence
        rows.append([name, description, source, licence, location(name)])
    return format_rows(rows)


def location(name: str) -> str:
    """Path of a data set, "in part", or "no"."""
    if name == GALLERY:
        return GALLERY_PHOTOS.relative_to(GALLERY_PHOTOS.parent.parent).as_posix()
    try:
        named_dataset(name)
    except BadDataset:
        return "in part" if (DOWNLOADS / name).exists() else "no"
    return str(DOWNLOADS / name)


def add_options(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers()
    actions.add_parser("list", help="list all data sets (the default)").set_defaults(run=run)
    get = actions.add_parser("get", help="download, verify and unpack a data set; resumes")
    get.add_argument("name", metavar="NAME", choices=set_names(), help=", ".join(set_names()))
    get.add_argument("--to", type=Path, metavar="DIR", help=f"default: {DOWNLOADS}/NAME")
    add_mirrors(get)
    get.set_defaults(run=run_get)


def add_mirrors(command: argparse.ArgumentParser) -> None:
    """Add the option --mirror."""
    command.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="try this server first: it has https://HOST/PATH at ADDRESS/HOST/PATH; may be given "
        f"several times (default: the addresses in {MIRRORS})",
    )


def run(_: argparse.Namespace) -> None:
    """Print all data sets."""
    print_text(format_sets())


def run_get(args: argparse.Namespace) -> None:
    """Fetch a data set, and print a summary."""
    root = args.to or DOWNLOADS / args.name
    benchmark = get_dataset(args.name, root, named_mirrors(args.mirror))
    print_lines(
        f"{args.name}: {quantity(len(benchmark.gallery), 'gallery photo')}, "
        f"{quantity(len(benchmark.queries), 'query', 'queries')}, in {benchmark.root}"
    )
    print_lines(*benchmark.notes)
    if args.name in open_names():
        licences: dict[str, int] = {}
        labelled = open_set(args.name)
        for photo in labelled.photos:
            licence = labelled.licences[photo.repository]
            licences[licence] = licences.get(licence, 0) + 1
        print_lines(
            "Licences that the repositories state, by photos: "
            + ", ".join(f"{licence} ({count})" for licence, count in sorted(licences.items()))
            + ". The photos are not yours to publish."
        )
