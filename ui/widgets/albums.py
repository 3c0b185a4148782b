"""Things as albums: a tile for each, and a dialog with its photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from index_store import Photo, Store
from index_store.analysis.things import Thing
from serving.galleries.about import about
from serving.galleries.pictures import thumbnail_url

from ..i18n.translate import number, tr
from .component import component
from .evidence import escape_markdown
from .results import credit_line, photos_in_words, results_grid

SHOWN = 60  # photos of an album


def albums(store: Store, things: Sequence[Thing]) -> Any:
    """Draw a tile for each thing.

    Returns:
        An object whose `open` is the file of the face that was just clicked, else None.
    """
    facts, piles = about(store), []
    faces = store.catalogue.photos_of(thing.ids[0] for thing in things)
    for face, thing in zip(faces, things):
        title, count = facts.title(face.file, face.title), photos_in_words(len(thing.ids))
        piles.append(
            {
                "file": face.file,
                "title": title,
                "thumbnail": thumbnail_url(store, face.id),
                "count": count,
                "name": tr("Album {title}: {photos}", title=title, photos=count),
            }
        )
    return component("albums")(data={"albums": piles}, key="albums", on_open_change=lambda: None)


def open_album(
    store: Store, thing: Thing, closed: Callable[[], None], search_for: Callable[[str], None]
) -> None:
    """Open the dialog with the photos of a thing.

    Args:
        store: store of the gallery.
        thing: the thing, of which the first SHOWN photos are shown.
        closed: called when the visitor closes the dialog.
        search_for: function that starts a search with the photo of a file.
    """
    face = store.catalogue.photo(thing.ids[0])
    title = about(store).title(face.file, face.title)
    dialog = st.dialog(escape_markdown(title), width="large", on_dismiss=closed)
    dialog(draw)(store, thing, search_for)


def draw(store: Store, thing: Thing, search_for: Callable[[str], None]) -> None:
    """Draw the content of the dialog. Arguments as `open_album`."""
    st.caption(
        tr(
            "{count} {count:photo|photos} of the same thing, {percent} % sure. Click one to "
            "search with it.",
            count=number(len(thing.ids)),
            percent=number(100 * thing.sure),
        )
    )
    if len(thing.ids) > SHOWN:
        st.caption(tr("The first {count} {count:photo is|photos are} shown.", count=number(SHOWN)))
    photos = store.catalogue.photos_of(thing.ids[:SHOWN])
    tiles = [tile(store, photo) for photo in photos]
    grid = results_grid([{"heading": "", "time": "", "hits": tiles}], key="album")
    if file := grid.open or grid.search:
        search_for(file)


def tile(store: Store, photo: Photo) -> dict[str, Any]:
    """Data of a photo for the browser, without search results."""
    facts = about(store)
    nothing = dict.fromkeys(("confidence", "detail", "points", "fit", "fold", "move"), "")
    return {
        "file": photo.file,
        "title": facts.title(photo.file, photo.title),
        "credit": credit_line(facts, photo.file),
        "thumbnail": thumbnail_url(store, photo.id),
        **nothing,
        "direction": "",
        "copies": [],
    }
