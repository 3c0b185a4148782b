"""Page "Own photos": a visitor's private, temporary gallery."""

from __future__ import annotations

import time

import streamlit as st

from extractor.photo.formats import names
from serving.galleries.galleries import galleries
from serving.galleries.own import OwnGallery, own_galleries
from serving.refusal import Refused, spend
from serving.settings import settings

from ..i18n.translate import number, tr, tr_known
from ..state.actions import start_over
from ..state.served import own_gallery
from ..state.switch import open_search, search_for
from ..state.turns import visitor_and_address
from ..widgets.evidence import escape_markdown
from ..widgets.headings import hero, small_print
from ..widgets.uploader import accepted_suffixes
from .explore import photo_row

POLL_SECONDS = 0.7  # seconds
SHOWN = 24


def render() -> None:
    """Draw the page."""
    limits = settings()
    text = tr(
        "Upload photos (at most {count}), or a zip of them, for a gallery of your own: "
        "search in it, explore it, see how it works. Nobody else sees it. It is deleted "
        "when you leave, or after {minutes} {minutes:minute|minutes}.",
        count=number(limits.own_photos),
        minutes=number(limits.own_minutes),
    )
    hero(tr("Your own photos"), text)
    if limits.own_galleries == 0:
        st.info(tr("This server does not offer galleries of your own photos."))
        return
    own = own_gallery()
    if problem := st.session_state.pop("own_problem", ""):
        st.error(tr_known(problem), icon=":material/hourglass_top:")
    if own is not None and own.building:
        draw_progress(own)
        return
    draw_uploader(first_time=own is None or own.gallery is None)
    if own is not None:
        draw_result(own)


def draw_uploader(first_time: bool) -> None:
    """Draw the uploader. first_time: whether there is no gallery yet."""
    limits = settings()
    key = f"own-{st.session_state.get('own_uploads', 0)}"
    st.file_uploader(
        tr("Choose photos, or a zip of photos") if first_time else tr("Add more photos"),
        type=[*accepted_suffixes(), "zip"],
        accept_multiple_files=True,
        key=key,
        on_change=process_files,
        args=(key,),
    )
    model = descriptor()
    if first_time and model:
        st.caption(
            tr(
                "{model} will describe them; change it on the search page.",
                model=escape_markdown(model),
            )
        )
    small_print(
        tr(
            "At most {files} {files:file|files} and {mb} MB at a time, {each} MB each. "
            "Formats: {formats}. Only a copy of each photo without metadata is kept.",
            formats=names(limits.uploads.formats),
            files=number(limits.session_files),
            mb=number(limits.session_mb),
            each=number(limits.upload_mb),
        )
    )


def process_files(key: str) -> None:
    """Start to process the uploaded files. Streamlit frees its copies at once."""
    files = [(file.name, file.getvalue()) for file in st.session_state.get(key) or ()]
    if not files:
        return
    st.session_state.own_uploads = st.session_state.get("own_uploads", 0) + 1
    visitor, address = visitor_and_address()
    try:
        spend("search", address, visitor)
        own_galleries().add(visitor, address, files, sum(map(photos_of, files)), descriptor())
    except Refused as refusal:
        st.session_state.own_problem = str(refusal)
    else:
        clear_other_question()


def descriptor() -> str:
    """Name of the model for a new gallery, as chosen on the search page; "" with only one model."""
    models = list(galleries().opened())
    current = st.session_state.get("searched_by")
    return "" if len(models) < 2 else current if current in models else models[0]


def photos_of(file: tuple[str, bytes]) -> int:
    """Estimated number of photos in a file, for the progress."""
    name, data = file
    return max(1, data.count(b"PK\x01\x02")) if name.lower().endswith(".zip") else 1


def draw_progress(own: OwnGallery) -> None:
    """Draw the progress until all photos are processed."""

    @st.fragment(run_every=POLL_SECONDS)
    def progress() -> None:
        if not own.building:
            st.rerun()
        total = max(own.total, own.done, 1)
        st.progress(
            min(1.0, own.done / total),
            tr(
                "Processing your photos: {done} of {total}",
                done=number(own.done),
                total=number(total),
            ),
        )

    progress()
    st.button(tr("Stop and delete them"), on_click=delete_gallery)


def draw_result(own: OwnGallery) -> None:
    """Report the result: errors, searchable photos, skipped files."""
    if own.error:
        st.error(tr_known(own.error), icon=":material/broken_image:")
    if own.gallery is not None:
        store = own.gallery.engine.store
        minutes = max(1, round((own.until - time.time()) / 60))
        st.success(
            tr(
                "{count} {count:photo|photos} can be searched, for {minutes} more "
                "{minutes:minute|minutes}.",
                count=number(len(store)),
                minutes=number(minutes),
            ),
            icon=":material/check:",
        )
    if own.problems:
        with st.expander(tr("Skipped: {count}", count=number(len(own.problems)))):
            for name, sentence in own.problems:
                st.text(f"{name}: {tr_known(sentence)}")
    with st.container(horizontal=True):
        if own.gallery is not None and st.button(tr("Search them"), type="primary"):
            open_search()
        st.button(tr("Delete them and go back to the gallery"), on_click=delete_gallery)
    if own.gallery is not None:
        ids = list(range(min(SHOWN, len(own.gallery.engine.store))))
        grid = photo_row(own.gallery.engine.store, tr("Search with one of these"), ids, "own")
        if file := grid.open or grid.search:
            search_for(file)


def delete_gallery() -> None:
    """Delete the gallery."""
    own_galleries().forget(visitor_and_address()[0])
    clear_other_question()


def clear_other_question() -> None:
    """Clear the question, which belongs to another gallery."""
    start_over()
    for name in ("question", "visited"):
        st.session_state.pop(name, None)
