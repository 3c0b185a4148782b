"""Query photos and their session state.

The bytes of an upload are freed as soon as they are decoded. The session keeps a re-encoded picture
without metadata and the prepared queries; `clear_query` deletes both. The server caches the data
for the upload's link a little longer (`serving.galleries.upload_cache`), never the picture.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from extractor import Region, encode_jpeg, resize
from search import Engine, PreparedQuery, QueryPhoto
from serving.decoding.decoder import decoder
from serving.galleries.about import about
from serving.galleries.gallery import Gallery
from serving.galleries.originals import reading_originals
from serving.galleries.pictures import thumbnail_url, view_url
from serving.galleries.upload_cache import CachedUpload, upload_cache

# Parts of an upload are described from the kept picture, so it has working size and a quality that
# does not affect descriptors.
PICTURE_QUALITY = 92
VIEW_SIDE = 800  # pixels of an upload in the match viewer, sent inside the page
VIEW_QUALITY = 80
# Placeholder for an upload whose picture was not kept.
NO_PICTURE = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='{width}' "
    "height='{height}'%3E%3Crect width='100%25' height='100%25' fill='%238a9694'/%3E%3C/svg%3E"
)


class UploadExpired(Exception):
    """The cached data of an upload does not suffice; str(error) is for the visitor."""


@dataclass(frozen=True)
class QueryImage:
    """A query photo.

    Attributes:
        title: title of the photo.
        origin: its source, for display.
        image: {"src", "width", "height", "title"} for the browser.
        small: URL of a small picture of it.
        file: file in the gallery; None for an upload.
        token: token of an upload's link; None for a gallery photo.
        cached: cached data of an upload.
        picture: JPEG of an upload at working size; None for a gallery photo and for an upload
            restored from its link.
    """

    title: str
    origin: str
    image: dict
    small: str
    file: str | None = None
    token: str | None = None
    cached: CachedUpload | None = None
    picture: bytes | None = None

    @property
    def key(self) -> str:
        """Unique key of the photo."""
        return f"photo {self.file}" if self.token is None else f"upload {self.token}"

    @property
    def can_be_cropped(self) -> bool:
        """Whether there is a picture to select a part of."""
        return self.token is None or self.picture is not None


def read_uploads(
    gallery: Gallery, files: Sequence[tuple[bytes, str]], others: Sequence[QueryImage]
) -> tuple[list[QueryImage], PreparedQuery]:
    """Decode uploads and prepare one query from them.

    Heavy; does not access the session.

    Args:
        gallery: the gallery to search.
        files: bytes and name of each upload.
        others: other photos of the same thing in the query; they come first.

    Raises:
        BadPhoto: an upload cannot be decoded.
        UploadExpired: as `prepare`.
    """
    begin = time.perf_counter()
    decoded = [decoder().read(data) for data, _ in files]
    ms = (time.perf_counter() - begin) * 1000
    before = [source_of(gallery, other, None, ("sift",)) for other in others]
    query = gallery.engine.prepare([*before, *decoded])
    query.spend("decode", ms)
    subjects = []
    for (pixels, _), (_, name), photo in zip(decoded, files, query.photos[len(before) :]):
        view = resize(pixels, VIEW_SIDE)
        src = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(view, VIEW_QUALITY)).decode()
        cached = upload_cache().keep()
        upload_cache().add(cached, query.model, None, photo)
        image = browser_image(src, view.shape, "Your photo")
        picture = encode_jpeg(pixels, PICTURE_QUALITY)
        fields = {"token": cached.token, "cached": cached, "picture": picture}
        subjects.append(QueryImage(name, "Your photo", image, src, **fields))
    return [*others, *subjects], query


def linked_upload(token: str) -> QueryImage | None:
    """An upload restored from its link; None if the link has expired."""
    cached = upload_cache().find(token)
    if cached is None:
        return None
    features = next((f for p in cached.photos.values() for f in p.keypoints.values()), None)
    height, width = features.size if features is not None else (480, 640)
    src = NO_PICTURE.format(width=width, height=height)
    image = browser_image(src, (height, width), "An uploaded photo")
    origin = "Its picture was not kept"
    return QueryImage("An uploaded photo", origin, image, src, token=token, cached=cached)


def gallery_subject(engine: Engine, id: int) -> QueryImage:
    """A gallery photo as a query photo. Raises KeyError for an unknown id."""
    photo = engine.store.catalogue.photo(id)
    shape = photo.height, photo.width
    title = about(engine.store).title(photo.file, photo.title)
    return QueryImage(
        title=title,
        origin="From the gallery",
        image=browser_image(view_url(engine.store, id), shape, title),
        small=thumbnail_url(engine.store, id),
        file=photo.file,
    )


def browser_image(src: str, shape: tuple[int, ...], title: str) -> dict:
    """A picture in the format of our components. shape: (height, width, ...)."""
    return {"src": src, "width": shape[1], "height": shape[0], "title": title}


def source_of(
    gallery: Gallery, subject: QueryImage, region: Region | None, matchers: Sequence[str]
) -> bytes | int | QueryPhoto:
    """The source for `Engine.prepare`: a picture, a gallery id or a cached description.

    Raises:
        UploadExpired: the cached data of an upload has no such description, and no picture.
    """
    engine = gallery.engine
    if subject.file is not None:
        return engine.store.catalogue.find(subject.file).id
    assert subject.cached is not None
    photo = subject.cached.photos.get((engine.extractor.fingerprint, region))
    if photo is not None and photo.keypoints.keys() >= set(matchers):
        return photo
    if subject.picture is None:
        raise UploadExpired(
            "The photo of this link was processed with other settings, and its picture was not "
            "kept. Go back to those settings or choose the photo again."
        )
    return subject.picture  # our own encoding, so it is trusted


def prepare(
    gallery: Gallery,
    subjects: Sequence[QueryImage],
    region: Region | None,
    matchers: Sequence[str] = ("sift",),
) -> PreparedQuery:
    """Prepare a query from the photos, or from a part of a single one.

    Heavy; does not access the session. Descriptions of uploads are cached.

    Raises:
        UploadExpired: as `source_of`.
        OriginalGone, Refused: a part of a gallery photo cannot be read, see `originals`.
    """
    engine = gallery.engine
    sources = [source_of(gallery, subject, region, matchers) for subject in subjects]
    with reading_originals():
        query = engine.prepare(sources, region, matchers)
    for subject, photo in zip(subjects, query.photos):
        if subject.cached is not None:
            upload_cache().add(subject.cached, query.model, region, photo)
    return query


def clear_query() -> None:
    """Delete the photos and everything derived from them from the session."""
    for name in ("uploaded", "prepared", "drawn", "completed", "explained"):
        st.session_state.pop(name, None)
