"""What the visitor searches with, and what the session keeps of it.

An upload's own bytes are let go as soon as they are decoded. The session keeps a picture that we
have encoded anew, without metadata, and the prepared queries; both go with `forget`.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

import streamlit as st

from extractor import Region, decode, encode_jpeg, resize
from search import Engine, PreparedQuery

from .routes import thumbnail_url, view_url

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


def take_photo(data: bytes, name: str) -> None:
    """Make an upload the subject of this session. Raises BadPhoto."""
    begin = time.perf_counter()
    pixels = decode(data)
    ms = (time.perf_counter() - begin) * 1000
    view = resize(pixels, VIEW_SIDE)
    src = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(view, VIEW_QUALITY)).decode()
    image = browser_image(src, view.shape, "Your photo")
    picture = encode_jpeg(pixels, PICTURE_QUALITY)
    st.session_state.upload = Subject(name, "Your photo", image, src, picture=picture)
    # Decoded once: the first query is prepared from these pixels, which are then let go.
    st.session_state.decoded = pixels, ms


def gallery_subject(engine: Engine, id: int) -> Subject:
    """Raises KeyError for an unknown id."""
    photo = engine.store.catalogue.photo(id)
    shape = photo.height, photo.width
    return Subject(
        title=photo.title,
        origin="From the gallery",
        image=browser_image(view_url(engine.store, id), shape, photo.title),
        small=thumbnail_url(engine.store, id),
        file=photo.file,
    )


def browser_image(src: str, shape: tuple[int, ...], title: str) -> dict:
    """A picture as our components want it. shape: (height, width, ...)."""
    return {"src": src, "width": shape[1], "height": shape[0], "title": title}


def forget() -> None:
    """Let go of everything the session keeps of its subject."""
    for name in ("upload", "decoded", "prepared"):
        st.session_state.pop(name, None)


def prepared_query(engine: Engine, subject: Subject, region: Region | None) -> PreparedQuery:
    """The subject, or a part of it, ready to be asked; prepared when it is first wanted.

    A query of an older generation of the gallery is renewed.

    Args:
        engine: whose gallery is searched.
        subject: of this session.
        region: the part that counts, None for all of it.

    Raises:
        OSError, BadPhoto: for a part of a gallery photo whose file is gone or has changed.
    """
    kept = st.session_state.setdefault("prepared", {})
    key = subject.file, region, engine.extractor.fingerprint
    query = kept.pop(key, None)
    if query is None:
        query = prepare(engine, subject, region)
    elif query.generation != engine.store.version:
        query = engine.renew(query)
    kept[key] = query
    while len(kept) > PREPARED:
        del kept[next(iter(kept))]
    return query


def prepare(engine: Engine, subject: Subject, region: Region | None) -> PreparedQuery:
    """As `prepared_query`, always anew."""
    if subject.file is not None:
        return engine.prepare(engine.store.catalogue.find(subject.file).id, region)
    pixels, ms = st.session_state.pop("decoded", (None, 0.0))
    if pixels is None:
        return engine.prepare(subject.picture, region)
    query = engine.prepare(pixels, region)
    query.spend("decode", ms)
    return query
