"""Allowed Host headers.

Another site can point its own name at this server's address (DNS rebinding). The browser then
treats both as one site and lets its scripts read a demo that only this network should see. The Host
header still carries the other site's name.
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
    """ASGI middleware that refuses requests for hosts outside Streamlit's option `allowedHosts`.

    The setting `hosts` fills that option.

    Args:
        app: application that receives the requests for allowed hosts.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or is_host_allowed(Headers(scope=scope).get("host")):
            await self.app(scope, receive, send)
            return
        refusal = refuse("wrong host", 421, SENTENCE)
        if not self._has_warned:  # logged once; the metric counts all
            log.warning("refused a request for an unknown host; GEM_HOSTS lists the allowed ones")
            self._has_warned = True
        if kind == "http":
            await problem_of(refusal)(scope, receive, send)
        else:
            await receive()
            await send(
                {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": str(refusal)}
            )
