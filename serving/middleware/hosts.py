"""Allowed Host headers.

A page of another site can give its own name the address of this server (DNS rebinding): then the
browser takes the two for one site, and lets it read a demo that only this network should see. But
the browser still says the name.
"""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..operations.streamlit_private import is_host_allowed
from ..refusal import problem_of, refuse

POLICY_VIOLATION = 1008
SENTENCE = "This server is not configured for that host name."

log = logging.getLogger(__name__)


class KnownHosts:
    """ASGI middleware. The names are the setting `hosts`, as Streamlit's option `allowedHosts`.

    Args:
        app: gets what was sent to one of them.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self._has_said = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or is_host_allowed(Headers(scope=scope).get("host")):
            await self.app(scope, receive, send)
            return
        refusal = refuse("wrong host", 421, SENTENCE)
        if not self._has_said:  # the metric counts them
            log.warning("a request for an unknown host was refused; GEM_HOSTS names those served")
            self._has_said = True
        if kind == "http":
            await problem_of(refusal)(scope, receive, send)
        else:
            await receive()
            await send(
                {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": str(refusal)}
            )
