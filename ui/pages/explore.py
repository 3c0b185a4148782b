"""The gallery as a map, with similar photos close together, and its things as albums."""

from __future__ import annotations

import html
import logging
from typing import Any

import streamlit as st

from index_store import Store
from index_store.analysis.similarity_map import SimilarityMap
from serving.galleries.gallery import Gallery, NoGallery
from serving.galleries.maps import maps
from serving.galleries.things import things_of

from ..i18n.translate import number, tr, tr_known
from ..state.served import first
from ..state.switch import THING, search_for
from ..state.url_params import values, write
from ..widgets.albums import albums, open_album, tile
from ..widgets.component import component
from ..widgets.headings import hero
from ..widgets.results import photos_in_words, results_grid

CLUSTERS = 24  # clusters shown under the map
GROUPS = 12  # groups of duplicates shown
ALBUMS = 60  # things shown under the map
POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


def render() -> None:
    """Draw the page."""
    try:
        gallery = first()
    except NoGallery as error:
        st.error(tr_known(str(error)))
        return
    store = gallery.engine.store
    text = tr(
        "{count} {count:photo|photos}. Similar photos are close together. Click a photo "
        "to search with it.",
        count=number(len(store)),
    )
    hero(tr("Explore"), text)
    future = maps().of(gallery)
    if not future.done():
        wait_for(gallery)
        return
    try:
        overview = future.result()
    except Exception:  # the rest of the page works, and the next visit tries again
        log.exception("the overview of the gallery failed")
        maps().drop(gallery)
        st.error(tr("The overview of the gallery is not available. Please try again later."))
        return
    with st.container(key="wide"):
        clicked = photo_map(store, overview.map)
    draw_things(store)
    duplicates = [id for group in overview.copies[:GROUPS] for id in group]
    grids = [photo_row(store, tr("Duplicates"), duplicates, "copies")] if duplicates else []
    grids.append(photo_row(store, tr("One of a kind"), overview.outliers, "outliers"))
    # The map sends ids, not file names: it belongs to one generation.
    if clicked.open is not None and 0 <= int(clicked.open) < len(store):
        search_for(store.catalogue.photo(int(clicked.open)).file)
    for grid in grids:
        if file := grid.open or grid.search:
            search_for(file)


def draw_things(store: Store) -> None:
    """Draw the things of a gallery as albums, and open the one named in the URL."""
    things = things_of(store)
    if things is None or not things.listed:
        return
    heading = tr(
        "{count} {count:thing|things} with more than one photo", count=number(len(things.listed))
    )
    st.html(f'<h2 class="things">{html.escape(heading)}</h2>')
    if len(things.listed) > ALBUMS:
        st.caption(
            tr(
                "The {count} {count:thing|things} with most photos {count:is|are} shown.",
                count=number(ALBUMS),
            )
        )
    if file := albums(store, things.listed[:ALBUMS]).open:
        write(THING, [file])
    opened_file = next(iter(values(THING)), None)
    photo = None if opened_file is None else store.catalogue.find(opened_file)
    thing_number = None if photo is None else things.number_of(photo.id)
    if thing_number is not None:
        open_album(store, things.listed[thing_number], lambda: write(THING, []), search_for)


def wait_for(gallery: Gallery) -> None:
    """Draw a message while the map is being built, and redraw the page when it is ready."""

    @st.fragment(run_every=POLL_SECONDS)
    def waiting() -> None:
        if maps().of(gallery).done():
            st.rerun()
        message = tr(
            "The map of {count} {count:photo|photos} is being built; it is built only once.",
            count=number(len(gallery.engine.store)),
        )
        st.html(f'<div class="turn" role="status">{html.escape(message)}</div>')

    waiting()


def photo_map(store: Store, layout: SimilarityMap) -> Any:
    """Draw the map. Returns an object whose `open` is the id of the photo just clicked, or None."""
    sizes = [int((layout.clusters == cluster).sum()) for cluster in range(len(layout.medoids))]
    return component("map")(
        data={
            "url": f"maps/{store.version}.bin",
            "photos": f"photos/{store.version}/",
            "count": len(layout.ids),
            "clusters": [photos_in_words(size) for size in sizes[:CLUSTERS]],
            "words": {
                "map": tr(
                    "Map of the photos. Arrow keys move, plus and minus zoom, Enter searches with "
                    "the photo in the middle."
                ),
                "clusters": tr("Clusters"),
                "closer": tr("Closer"),
                "further": tr("Further away"),
                "whole": tr("All of it"),
                "missing": tr("The map cannot be shown at the moment."),
            },
        },
        key="map",
        on_open_change=lambda: None,
    )


def photo_row(store: Store, heading: str, ids: list[int], key: str) -> Any:
    """Draw a few photos under a heading. Returns the same as `results_grid`."""
    hits = []
    nearest = store.neighbour_sims[:, 1:2].max(1, initial=0)  # a single photo has no neighbour
    for photo in store.catalogue.photos_of(ids):
        similarity = number(float(nearest[photo.id]), 3)
        detail = tr("similarity with its nearest photo {value}", value=similarity)
        hits.append(tile(store, photo) | {"detail": detail})
    return results_grid([{"heading": heading, "time": "", "hits": hits}], key=key)
