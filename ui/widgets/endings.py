"""File suffixes that the page's uploaders accept."""

from __future__ import annotations

from extractor.photo.formats import BY_KEY, suffixes
from serving.settings import settings


def endings() -> list[str]:
    """Suffixes of the formats in the settings, without dots.

    The usual suffix of each format comes first: the uploader shows only the beginning of the list.
    """
    usual = [BY_KEY[key].suffixes[0] for key in settings().uploads.formats]
    ordered = dict.fromkeys([*usual, *suffixes(settings().uploads.formats)])
    return [suffix.lstrip(".") for suffix in ordered]
