"""The galleries that a visitor searches: the server's, or their own photos."""

from __future__ import annotations

from serving.galleries.galleries import galleries
from serving.galleries.gallery import Gallery
from serving.galleries.own import OwnGallery, own_galleries

from .turns import visitor_and_address


def own_gallery() -> OwnGallery | None:
    """The visitor's own gallery, built or being built; None without one."""
    return own_galleries().of(visitor_and_address()[0])


def served() -> dict[str, Gallery]:
    """The galleries to search, by name of their model.

    Only the visitor's own gallery once it is searchable. Raises NoGallery.
    """
    own = own_gallery()
    if own is not None and own.gallery is not None:
        return {own.gallery.name: own.gallery}
    return galleries().by_name()


def first() -> Gallery:
    """The gallery that the page opens with. Raises NoGallery."""
    return next(iter(served().values()))


def opened() -> Gallery | None:
    """As `first`, without waiting; None if it is not open yet."""
    own = own_gallery()
    if own is not None and own.gallery is not None:
        return own.gallery
    return next(iter(galleries().opened().values()), None)
