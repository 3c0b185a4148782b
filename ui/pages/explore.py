"""The gallery as a map: what looks alike lies close together; a click searches with a photo."""

from __future__ import annotations

import html
import logging
from typing import Any

import streamlit as st

from index_store import Store
from index_store.analysis.similarity_map import SimilarityMap
from serving.galleries.about import about
from serving.galleries.galleries import Gallery, NoGallery
from serving.galleries.maps import maps
from serving.galleries.pictures import thumbnail_url

from ..i18n.translate import number, tr, tr_known
from ..state.served import first
from ..state.switch import search_for
from ..widgets.component import ASSETS
from ..widgets.results import credit_line, photos_in_words, results_grid

CLUSTERS = 24  # medoids under the map
GROUPS = 12  # of photos that are there more than once
LOOK_AGAIN = 1.0  # seconds

log = logging.getLogger(__name__)


def render() -> None:
    """Draw the page."""
    try:
        gallery = first()
    except NoGallery as error:
        st.error(tr_known(str(error)))
        return
    store = gallery.engine.store
    st.html(
        f'<div class="hero"><h1>{html.escape(tr("Explore"))}</h1><p>'
        + html.escape(
            tr(
                "{count} {count:photo|photos}. What looks alike lies close together. Click a photo "
                "to search with it.",
                count=number(len(store)),
            )
        )
        + "</p></div>"
    )
    making = maps().of(gallery)
    if not making.done():
        wait_for(gallery)
        return
    try:
        seen = making.result()
    except Exception:  # whatever failed, the rest of the page works, and the next visit tries again
        log.exception("the overview of the gallery cannot be made")
        maps().drop(gallery)
        st.error(tr("The overview of the gallery cannot be made. Please try again later."))
        return
    with st.container(key="wide"):
        clicked = photo_map(store, seen.map)
    same = [id for group in seen.copies[:GROUPS] for id in group]
    grids = [strip(store, tr("There more than once"), same, "copies")] if same else []
    grids.append(strip(store, tr("Like no other"), seen.outliers, "outliers"))
    # The browser names ids of the map; a map belongs to one generation.
    if clicked.open is not None and 0 <= int(clicked.open) < len(store):
        search_for(store.catalogue.photo(int(clicked.open)).file)
    for grid in grids:
        if file := grid.open or grid.search:
            search_for(file)


def wait_for(gallery: Gallery) -> None:
    """Say that the map is being made, and draw the page again when it is."""

    @st.fragment(run_every=LOOK_AGAIN)
    def waiting() -> None:
        if maps().of(gallery).done():
            st.rerun()
        doing = tr(
            "The map of {count} {count:photo|photos} is being built; it is built only once.",
            count=number(len(gallery.engine.store)),
        )
        st.html(f'<div class="turn" role="status">{html.escape(doing)}</div>')

    waiting()


def photo_map(store: Store, made: SimilarityMap) -> Any:
    """Draw the map. Returns an object whose `open` is the id of the photo just clicked, or None."""
    sizes = [int((made.clusters == cluster).sum()) for cluster in range(len(made.medoids))]
    component = st.components.v2.component(
        "photo_map",
        html=(ASSETS / "map.html").read_text(),
        css=(ASSETS / "map.css").read_text(),
        js=(ASSETS / "map.js").read_text(),
    )
    return component(
        data={
            "url": f"maps/{store.version}.bin",
            "photos": f"photos/{store.version}/",
            "count": len(made.ids),
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


def strip(store: Store, heading: str, ids: list[int], key: str) -> Any:
    """Draw a few photos under a heading; returns what `results_grid` does."""
    said, hits = about(store), []
    nearest = store.neighbour_sims[:, 1:2].max(1, initial=0)  # of a single photo nothing is near
    for photo in store.catalogue.photos_of(ids):
        similarity = number(float(nearest[photo.id]), 3)
        hits.append(
            {
                "file": photo.file,
                "title": said.title(photo.file, photo.title),
                "credit": credit_line(said, photo.file),
                "thumbnail": thumbnail_url(store, photo.id),
                "confidence": "",
                "detail": tr("similarity with its nearest photo {value}", value=similarity),
                "points": "",
                "fit": "",
                "fold": "",
                "move": "",
                "direction": "",
                "copies": [],
            }
        )
    return results_grid([{"heading": heading, "time": "", "hits": hits}], key=key)
