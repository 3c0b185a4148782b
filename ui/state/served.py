"""What the visitor searches: the galleries of this server, or their own photos."""

from __future__ import annotations

from serving.galleries.galleries import Gallery, galleries
from serving.galleries.own import OwnGallery, own_galleries

from .turns import visitor_and_address


def own_gallery() -> OwnGallery | None:
    """The visitor's own gallery, being made or made."""
    return own_galleries().of(visitor_and_address()[0])


def served() -> dict[str, Gallery]:
    """What is searched, by the name of its model.

    That is the visitor's own photos once they can be. Raises NoGallery.
    """
    own = own_gallery()
    if own is not None and own.gallery is not None:
        return {own.gallery.name: own.gallery}
    return galleries().by_name()


def first() -> Gallery:
    """What the page opens with. Raises NoGallery."""
    return next(iter(served().values()))


def opened() -> Gallery | None:
    """As `first`, without waiting for anything; None if it is not open yet."""
    own = own_gallery()
    if own is not None and own.gallery is not None:
        return own.gallery
    return next(iter(galleries().opened().values()), None)
