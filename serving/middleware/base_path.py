"""Base path of the server behind a proxy, e.g. https://example.org/photos-search/.

If the proxy passes the path on, Streamlit's option `server.baseUrlPath` names it. If the proxy
strips it, its header X-Forwarded-Prefix names it.
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
MAX_PREFIX = 200  # characters


def base_path() -> str:
    """`server.baseUrlPath` with a leading and without a trailing slash; "" if it is not set."""
    path = option("server.baseUrlPath").strip("/")
    return f"/{path}" if path else ""


def prefix_of(scope: Scope) -> str:
    """Prefix of this server's URLs as clients see them: "" or e.g. "/photos-search".

    X-Forwarded-Prefix is used if it is a plain path from a trusted proxy.
    """
    stripped = Headers(scope=scope).get(FORWARDED_PREFIX, "")
    if len(stripped) > MAX_PREFIX or not PREFIX.fullmatch(stripped) or not is_from_proxy(scope):
        stripped = ""
    return stripped.rstrip("/") + base_path()


class Below(Mount):
    """A Mount that leaves addresses that its routes do not match to the routes after it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        inner = {**scope, **child}
        if match is Match.NONE or all(
            route.matches(inner)[0] is Match.NONE for route in self.routes
        ):
            return Match.NONE, {}
        return match, child


def at_base_path(routes: Sequence[BaseRoute], at_root: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The routes below the base path.

    Args:
        routes: routes with paths from "/".
        at_root: routes that are also served at "/", for local health checks.
    """
    base = base_path()
    return [Below(base, routes=routes), *at_root] if base else list(routes)
