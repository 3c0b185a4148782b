"""Output of `python -m index_store things`: the files of each thing, its face first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plurals import quantity

from ..store import Store
from .things import Thing


def summary(things: Sequence[Thing]) -> str:
    """Number of things as a phrase: "128 things with more than one photo"."""
    return f"{quantity(len(things), 'thing')} with more than one photo"


def thing_lines(store: Store, things: Sequence[Thing]) -> list[str]:
    """The things as lines of text. things: output of `things.things`."""
    count = sum(len(thing.ids) for thing in things)
    lines = [f"{summary(things)}: {count} of {quantity(len(store.served_ids), 'photo')}"]
    for thing, files in zip(things, files_of(store, things)):
        face, *others = files
        lines += ["", f"{face}: {quantity(len(files), 'photo')}, {thing.sure:.0%} sure"]
        lines += [f"  {file}" for file in others]
    return lines


def to_json(store: Store, things: Sequence[Thing]) -> dict[str, Any]:
    """The things as a JSON object. things: output of `things.things`."""
    return {
        "photos": len(store.served_ids),
        "things": [
            {"face": files[0], "sure": round(thing.sure, 4), "photos": files}
            for thing, files in zip(things, files_of(store, things))
        ],
    }


def files_of(store: Store, things: Sequence[Thing]) -> list[list[str]]:
    """The files of each thing, in the order of its photos."""
    photos = store.catalogue.photos_of(id for thing in things for id in thing.ids)
    files = iter([photo.file for photo in photos])
    return [[next(files) for _ in thing.ids] for thing in things]
