"""Limits for websockets: open pages in total and by address, silence, and message rate."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plurals import quantity

from ..operations import prometheus
from ..refusal import Refused, refuse, spend
from ..settings import settings
from .client_ip import address_of

# Close codes (RFC 6455).
GOING_AWAY = 1001
NOT_BINARY = 1003
TRY_AGAIN = 1013
REFUSED_BY_STREAMLIT = {1002: "malformed message", 1008: "wrong origin", 1009: "large message"}


class ConnectionLimits:
    """ASGI middleware that limits open websockets as set by the settings.

    Args:
        app: application that receives the connections within the limits.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self._open: Counter[str] = Counter()  # by address; used by the event loop's thread only
        prometheus.CONNECTIONS.set_function(lambda: self.open)

    @property
    def open(self) -> int:
        """Number of open websockets."""
        return self._open.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        address = address_of(scope)
        try:
            self._check(address)
        except Refused as refusal:
            await receive()
            await send({"type": "websocket.close", "code": TRY_AGAIN, "reason": str(refusal)})
            return
        self._open[address] += 1
        try:
            await self.app(scope, limited(receive, address), counting(send))
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def _check(self, address: str) -> None:
        """Raise Refused if one more connection would exceed a limit."""
        limits = settings()
        spend("connection", address)
        if self._open.total() >= limits.connections:
            raise refuse("connections", 503, "The server is full. Try again later.")
        if self._open[address] >= limits.connections_address:
            pages = quantity(limits.connections_address, "open page")
            sentence = f"At most {pages} from one address. Close one and try again."
            raise refuse("connections of address", 429, sentence)


def limited(receive: Receive, address: str) -> Receive:
    """Wrap `receive` to close connections that stay silent, send text, or exceed the message quota.

    Streamlit's page always sends a first message, and only binary ones.

    Args:
        receive: receive function of the connection.
        address: client address, see `address_of`.
    """
    silent_seconds = settings().silent_seconds
    has_sent = False

    async def message() -> Message:
        nonlocal has_sent
        try:
            async with asyncio.timeout(None if has_sent else silent_seconds):
                message = await receive()
        except TimeoutError:
            prometheus.REFUSED.labels("silent connection").inc()
            return {"type": "websocket.disconnect", "code": GOING_AWAY}
        if message["type"] == "websocket.receive":
            has_sent = True
            if message.get("bytes") is None:
                prometheus.REFUSED.labels("malformed message").inc()
                return {"type": "websocket.disconnect", "code": NOT_BINARY}
            try:
                spend("message", address)
            except Refused:
                return {"type": "websocket.disconnect", "code": TRY_AGAIN}
        return message

    return message


def counting(send: Send) -> Send:
    """Wrap `send` to count the reasons for which Streamlit closes a connection."""

    async def counted(message: Message) -> None:
        if message["type"] == "websocket.close" and message.get("code") in REFUSED_BY_STREAMLIT:
            prometheus.REFUSED.labels(REFUSED_BY_STREAMLIT[message["code"]]).inc()
        await send(message)

    return counted
