"""The path that the server is reached below, e.g. https://example.org/photos-search/.

A proxy may pass that path on, and then Streamlit's option `server.baseUrlPath` names it. Or it
strips the path, and then its header X-Forwarded-Prefix names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from ..operations.streamlit_private import option
from .client_ip import is_from_proxy

FORWARDED_PREFIX = "x-forwarded-prefix"
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")
MOST_PREFIX = 200  # characters


def base_path() -> str:
    """`server.baseUrlPath` with a slash before it and none after it; "" if it is not set."""
    path = option("server.baseUrlPath").strip("/")
    return f"/{path}" if path else ""


def prefix_of(scope: Scope) -> str:
    """What a client puts before this server's addresses: "" or e.g. "/photos-search".

    X-Forwarded-Prefix counts if it is a plain path and a trusted proxy sent it.
    """
    stripped = Headers(scope=scope).get(FORWARDED_PREFIX, "")
    if len(stripped) > MOST_PREFIX or not PREFIX.fullmatch(stripped) or not is_from_proxy(scope):
        stripped = ""
    return stripped.rstrip("/") + base_path()


class Below(Mount):
    """A Mount that leaves every address that none of its routes matches to the routes after it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        inner = {**scope, **child}
        if match is Match.NONE or all(one.matches(inner)[0] is Match.NONE for one in self.routes):
            return Match.NONE, {}
        return match, child


def at_base_path(routes: Sequence[BaseRoute], at_root: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The routes below the base path.

    Args:
        routes: with paths from "/".
        at_root: those of them that are at "/" as well, for the machine's own checks.
    """
    base = base_path()
    return [Below(base, routes=routes), *at_root] if base else list(routes)
