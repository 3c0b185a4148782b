"""Photos that come from the clipboard or the camera: they are handed to the page's uploader."""

from __future__ import annotations

from .component import component
from .language import say


def arrivals(key: str) -> None:
    """Take what is pasted anywhere on the page; draw a button for the camera where fingers point.

    Either goes to the uploader that the visitor sees, so that all its limits hold.
    """
    component("arrivals")(
        data={"camera": say("Take a photo"), "hint": say("or paste one")}, key=key
    )
