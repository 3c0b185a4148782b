"""What the names of files end with that the page's uploaders take."""

from __future__ import annotations

from extractor.photo.formats import suffixes
from serving.settings import settings


def endings() -> list[str]:
    """Those of the formats that the settings name, without their dots."""
    return [suffix.lstrip(".") for suffix in suffixes(settings().uploads.formats)]
