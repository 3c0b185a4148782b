"""Photos from the clipboard and the camera, passed to the page's uploader."""

from __future__ import annotations

from extractor.photo.formats import BY_KEY
from serving.settings import settings

from ..i18n.translate import tr
from .component import component


def arrivals(key: str) -> None:
    """Accept photos pasted anywhere on the page; draw a camera button on touch screens.

    Both go through the visible uploader, so that its limits apply.
    """
    allowed = [BY_KEY[name] for name in settings().uploads.formats]
    endings = {kind: format.suffixes[0] for format in allowed for kind in format.media_types}
    texts = {"camera": tr("Take a photo"), "hint": tr("or paste one")}
    component("arrivals")(data={**texts, "endings": endings}, key=key)
