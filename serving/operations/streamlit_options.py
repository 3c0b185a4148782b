"""Streamlit options derived from the settings, so that each limit is set in one place."""

from __future__ import annotations

from ..settings import Settings, settings
from .streamlit_private import set_option

# Streamlit must expire sessions later than we do: it hides expired ones without freeing them.
AFTER_US_SECONDS = 600


def follow_settings() -> None:
    """Set the options before the server starts. Raises BadSettings."""
    for name, value in options(settings()).items():
        set_option(name, value)


def options(limits: Settings) -> dict[str, int | list[str]]:
    """Streamlit's options by name. limits: the settings."""
    return {
        "server.allowedHosts": limits.known_hosts,
        "server.maxUploadSize": limits.upload_mb,
        "server.disconnectedSessionTTL": limits.forget_seconds + AFTER_US_SECONDS,
    }
