"""Streamlit's own options that follow from our settings, so that there is one place for each."""

from __future__ import annotations

from ..settings import Settings, settings
from .streamlit_private import set_option

# Streamlit's clock must be the later one: what it takes for gone it hides, and does not free.
AFTER_US_SECONDS = 600


def follow_settings() -> None:
    """Set them; before the server is up. Raises BadSettings."""
    for name, value in options(settings()).items():
        set_option(name, value)


def options(limits: Settings) -> dict[str, int | list[str]]:
    """The options by name."""
    return {
        "server.allowedHosts": limits.known_hosts,
        "server.maxUploadSize": limits.upload_mb,
        "server.disconnectedSessionTTL": limits.forget_seconds + AFTER_US_SECONDS,
    }
