"""File suffixes that the page's uploaders accept."""

from __future__ import annotations

from extractor.photo.formats import suffixes
from serving.settings import settings


def endings() -> list[str]:
    """Suffixes of the formats in the settings, without dots."""
    return [suffix.lstrip(".") for suffix in suffixes(settings().uploads.formats)]
