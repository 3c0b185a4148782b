"""Uploads, bounded while they arrive: bytes, files and time, by session, by address and in all.

Streamlit takes any number of files from a session, under names that the browser makes up, and keeps
them in memory. The API's bodies come the same way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plurals import quantity

from ..decoding.taken_uploads import taken_bytes
from ..operations import prometheus
from ..operations.streamlit_private import UPLOAD_PATH, runtime, stored_uploads
from ..refusal import Refused, busy, problem_of, refuse, spend
from ..settings import settings
from .client_ip import address_of

FRAMING = 2**20  # bytes of a form around its files
RETRY_SECONDS = 10
DRAIN_SECONDS = 5  # for what is still to come of an upload that is refused


def session_of(path: str) -> str:
    """The session of the page that an upload belongs to; "" for any other request."""
    _, found, rest = path.partition(UPLOAD_PATH)
    return rest.partition("/")[0] if found else ""


def held_uploads(session: str | None = None) -> tuple[int, int]:
    """How many files Streamlit holds, and their bytes: of one session or of all."""
    server = runtime()
    if server is None:
        return 0, 0
    storage = stored_uploads(server)
    owners = list(storage) if session is None else [session]
    files = [file for owner in owners for file in list(storage.get(owner, {}).values())]
    return len(files), sum(len(file.data) for file in files)


def held_bytes() -> int:
    """Bytes of all uploads that have arrived and are held, by Streamlit or by the page."""
    return held_uploads()[1] + taken_bytes()


@dataclass
class Arrival:
    """A request that is let in.

    Attributes:
        owner: whose bytes these are: the session, or the address.
        address: where they come from.
        most: bytes it may have.
        sentence: for a visitor who sends more.
        bytes: that have arrived.
    """

    owner: str
    address: str
    most: int
    sentence: str
    bytes: int = 0


class UploadLimits:
    """ASGI middleware. How much may arrive, the settings say.

    Args:
        app: gets what is within the limits.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        # What is arriving. Of the event loop's thread only.
        self._by_address: Counter[str] = Counter()
        self._by_owner: Counter[str] = Counter()
        self._bytes = 0
        # A file is never written to a disk, which might be full; its bytes are counted here.
        MultiPartParser.spool_max_size = settings().upload_bytes + FRAMING
        prometheus.HELD.set_function(lambda: held_bytes() + self._bytes)

    @property
    def arriving(self) -> int:
        """Bytes that have arrived of uploads that have not ended."""
        return self._bytes

    @property
    def is_idle(self) -> bool:
        """Whether no upload arrives, and none is counted any more."""
        return not (self._bytes or self._by_address or self._by_owner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("PUT", "POST", "PATCH"):
            await self.app(scope, receive, send)
            return
        answered = ended = False

        async def noted() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body")
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            arrival = self._arrival(scope)
            with self._arriving(arrival):
                bounded = self._bounded(noted, arrival)
                await self.app(scope, bounded, watched)
        except Refused as refusal:
            if not answered:
                if refusal.status in (429, 503) and not ended:
                    await drained(receive)
                # What is still to come is not read.
                answer = problem_of(refusal, {"Connection": "close"})
                await answer(scope, receive, send)

    def _arrival(self, scope: Scope) -> Arrival:
        """Raises Refused for a request that is too much, or says so itself."""
        limits, address = settings(), address_of(scope)
        session = session_of(scope["path"])
        if session:
            spend("upload", address, session)
            files, size = held_uploads(session)
            if files + self._by_owner[session] >= limits.session_files:
                raise too_many("uploads of session", limits.session_files)
            left = min(limits.upload_bytes, limits.session_mb * 2**20 - size)
            sentence = f"A photo may have at most {limits.upload_mb} MB."
        else:
            left = limits.api_photos * limits.upload_bytes
            photos = quantity(limits.api_photos, "photo")
            sentence = f"A request may have at most {photos} of {limits.upload_mb} MB each."
        if self._by_address[address] >= limits.address_uploads:
            raise too_many("uploads of address", limits.address_uploads)
        arrival = Arrival(session or address, address, left + FRAMING, sentence)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18:
            raise refuse("bad length", 400, "Content-Length is not a number.")
        if int(announced) > arrival.most:
            raise refuse("too large", 413, sentence)
        if held_bytes() + self._bytes + int(announced) > limits.arriving_mb * 2**20:
            raise busy("uploads of all", RETRY_SECONDS)
        return arrival

    @contextmanager
    def _arriving(self, arrival: Arrival) -> Iterator[None]:
        """Count one more upload while it arrives and is answered."""
        for counter, key in self._counters(arrival):
            counter[key] += 1
        try:
            yield
        finally:
            self._bytes -= arrival.bytes
            for counter, key in self._counters(arrival):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

    def _counters(self, arrival: Arrival) -> tuple[tuple[Counter[str], str], ...]:
        return (self._by_address, arrival.address), (self._by_owner, arrival.owner)

    def _bounded(self, receive: Receive, arrival: Arrival) -> Receive:
        """`receive` that raises Refused when it is too much or takes too long, whatever was
        announced.
        """
        limits = settings()
        deadline = asyncio.get_running_loop().time() + limits.upload_seconds
        arrived = False

        async def bounded() -> Message:
            nonlocal arrived
            if arrived:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                sentence = f"The upload took longer than {limits.upload_seconds} seconds."
                raise refuse("slow upload", 408, f"{sentence} Try a smaller file.") from None
            size = len(message.get("body", b""))
            arrival.bytes += size
            self._bytes += size
            if arrival.bytes > arrival.most:
                raise refuse("too large", 413, arrival.sentence)
            if held_bytes() + self._bytes > limits.arriving_mb * 2**20:
                raise busy("uploads of all", RETRY_SECONDS)
            if not message.get("more_body"):
                arrived = True
            return message

        return bounded


async def drained(receive: Receive) -> None:
    """Let what is small enough arrive, and throw it away, but not for long.

    A client that is cut off while it sends sees a broken line instead of the sentence.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body"):
                pass


def too_many(why: str, most: int) -> Refused:
    """A session or an address has too many uploads at one time. most: how many it may have."""
    sentence = (
        f"At most {quantity(most, 'upload')} at a time. Try again in {RETRY_SECONDS} seconds."
    )
    return refuse(why, 429, sentence, RETRY_SECONDS)
