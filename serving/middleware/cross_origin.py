"""CORS headers, for scripts of other websites that call the API and read pictures."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings import settings
from .base_path import base_path

AREAS = ("/api/", "/photos/")


class CrossOrigin:
    """ASGI middleware that adds CORS headers, without credentials, to the URLs below AREAS.

    Args:
        app: application, which the origins of the setting `cors` may call there.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self._areas = tuple(base_path() + area for area in AREAS)
        origins = settings().origins
        self._shared: ASGIApp = app
        if origins:
            self._shared = CORSMiddleware(
                app,
                allow_origins=origins,
                allow_methods=["GET", "HEAD", "POST"],
                expose_headers=["Retry-After"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shared = scope["type"] == "http" and scope["path"].startswith(self._areas)
        await (self._shared if shared else self.app)(scope, receive, send)
