"""What the visitor searches with, and what the session keeps of it.

An upload's own bytes are let go as soon as they are decoded. The session keeps a picture that we
have encoded anew, without metadata, and the prepared queries; both go with `forget`.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

import streamlit as st

from extractor import Region, encode_jpeg, resize
from search import Engine, PreparedQuery
from serving import searches
from serving.about import about
from serving.decoder import decoder
from serving.galleries import Gallery
from serving.pictures import thumbnail_url, view_url

# A part of an upload is described from the kept picture, because nothing else is left of it. So it
# has the size that photos are worked on at, and a quality that descriptors do not notice.
PICTURE_QUALITY = 92
VIEW_SIDE = 800  # pixels of an upload in the match viewer; it travels inside the page
VIEW_QUALITY = 80
PREPARED = 4  # queries kept: of the photo as a whole, and of the last few parts of it


@dataclass(frozen=True)
class Subject:
    """A photo to search with.

    Attributes:
        title: its name.
        origin: where it is from, for people.
        image: {"src", "width", "height", "title"} for the browser.
        small: address of the picture that stands for it.
        file: in the gallery; None for an upload.
        picture: JPEG of an upload at working size; None for a gallery photo.
    """

    title: str
    origin: str
    image: dict
    small: str
    file: str | None = None
    picture: bytes | None = None


def read_upload(gallery: Gallery, data: bytes, name: str) -> tuple[Subject, PreparedQuery]:
    """Decode an upload, once: what the session keeps of it, and the query of the whole photo.

    Heavy; touches nothing of the session. Raises BadPhoto.
    """
    begin = time.perf_counter()
    pixels = decoder().decode(data)
    ms = (time.perf_counter() - begin) * 1000
    view = resize(pixels, VIEW_SIDE)
    src = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(view, VIEW_QUALITY)).decode()
    image = browser_image(src, view.shape, "Your photo")
    picture = encode_jpeg(pixels, PICTURE_QUALITY)
    query = searches.prepare(gallery, [pixels])
    query.spend("decode", ms)
    return Subject(name, "Your photo", image, src, picture=picture), query


def gallery_subject(engine: Engine, id: int) -> Subject:
    """Raises KeyError for an unknown id."""
    photo = engine.store.catalogue.photo(id)
    shape = photo.height, photo.width
    title = about(engine.store).title(photo.file, photo.title)
    return Subject(
        title=title,
        origin="From the gallery",
        image=browser_image(view_url(engine.store, id), shape, title),
        small=thumbnail_url(engine.store, id),
        file=photo.file,
    )


def browser_image(src: str, shape: tuple[int, ...], title: str) -> dict:
    """A picture as our components want it. shape: (height, width, ...)."""
    return {"src": src, "width": shape[1], "height": shape[0], "title": title}


def forget() -> None:
    """Let go of everything the session keeps of its subject."""
    for name in ("upload", "prepared", "drawn"):
        st.session_state.pop(name, None)


def kept_query(gallery: Gallery, subject: Subject, region: Region | None) -> PreparedQuery | None:
    """The session's query of the subject, or of a part of it, if it is at hand at no great cost.

    A query of an older generation of the gallery is renewed, a whole gallery photo is always at
    hand.

    Args:
        gallery: what is searched.
        subject: of this session.
        region: the part that counts, None for all of it.
    """
    engine, query = gallery.engine, _queries().pop(_key(gallery, subject, region), None)
    if query is not None and query.generation != engine.store.version:
        # A part of a gallery photo would be described anew.
        cheap = subject.file is None or region is None
        query = engine.renew(query) if cheap else None
    if query is None and subject.file is not None and region is None:
        query = gallery.queries.prepare(engine.store.catalogue.find(subject.file).id)
    if query is not None:
        keep(gallery, subject, region, query)
    return query


def prepare(gallery: Gallery, subject: Subject, region: Region | None) -> PreparedQuery:
    """A query of the subject, or of a part of it, always anew. Heavy; touches nothing of the
    session.

    Raises:
        OSError, BadPhoto: for a part of a gallery photo whose file is gone or has changed.
    """
    engine = gallery.engine
    if subject.file is not None:
        return searches.prepare(gallery, [engine.store.catalogue.find(subject.file).id], region)
    # Our own encoding: nothing that a visitor could have made.
    return engine.prepare(subject.picture, region)


def keep(gallery: Gallery, subject: Subject, region: Region | None, query: PreparedQuery) -> None:
    """Let the session keep a query, and let go of the oldest beyond PREPARED."""
    kept = _queries()
    kept[_key(gallery, subject, region)] = query
    while len(kept) > PREPARED:
        del kept[next(iter(kept))]


def _queries() -> dict[tuple, PreparedQuery]:
    return st.session_state.setdefault("prepared", {})


def _key(gallery: Gallery, subject: Subject, region: Region | None) -> tuple:
    return subject.file, region, gallery.engine.extractor.fingerprint
