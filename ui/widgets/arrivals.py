"""Photos that come from the clipboard or the camera: they are handed to the page's uploader."""

from __future__ import annotations

from extractor.photo.formats import BY_KEY
from serving.settings import settings

from ..i18n.translate import tr
from .component import component


def arrivals(key: str) -> None:
    """Take what is pasted anywhere on the page; draw a button for the camera where fingers point.

    Either goes to the uploader that the visitor sees, so that all its limits hold.
    """
    taken = [BY_KEY[name] for name in settings().uploads.formats]
    endings = {kind: format.suffixes[0] for format in taken for kind in format.media_types}
    words = {"camera": tr("Take a photo"), "hint": tr("or paste one")}
    component("arrivals")(data={**words, "endings": endings}, key=key)
