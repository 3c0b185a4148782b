"""Limits for uploads while they arrive: bytes, files and time, per session, per address, in total.

Streamlit accepts any number of files from a session, under ids that the browser chooses, and keeps
them in memory. The bodies of API calls arrive the same way.
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

FRAMING = 2**20  # bytes of a form besides its files
RETRY_SECONDS = 10
DRAIN_SECONDS = 5  # for reading the rest of a refused upload


def session_of(path: str) -> str:
    """The page session that an upload belongs to; "" for any other request."""
    _, found, rest = path.partition(UPLOAD_PATH)
    return rest.partition("/")[0] if found else ""


def held_uploads(session: str | None = None) -> tuple[int, int]:
    """Number and total bytes of the files that Streamlit holds, for one session or for all."""
    server = runtime()
    if server is None:
        return 0, 0
    storage = stored_uploads(server)
    owners = list(storage) if session is None else [session]
    files = [file for owner in owners for file in list(storage.get(owner, {}).values())]
    return len(files), sum(len(file.data) for file in files)


def held_bytes() -> int:
    """Bytes of all completed uploads held by Streamlit or by the page."""
    return held_uploads()[1] + taken_bytes()


@dataclass
class Arrival:
    """An admitted upload.

    Attributes:
        owner: the session, or the address for API calls.
        address: client address.
        max_bytes: maximum size in bytes.
        sentence: message for a visitor who sends more.
        bytes: bytes received so far.
    """

    owner: str
    address: str
    max_bytes: int
    sentence: str
    bytes: int = 0


class UploadLimits:
    """ASGI middleware that limits uploads as set by the settings.

    Args:
        app: application that receives the uploads within the limits.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        # Uploads in progress. Used by the event loop's thread only.
        self._by_address: Counter[str] = Counter()
        self._by_owner: Counter[str] = Counter()
        self._bytes = 0
        # Never spool a file to a disk, which might be full; its bytes are counted here.
        MultiPartParser.spool_max_size = settings().upload_bytes + FRAMING
        prometheus.HELD.set_function(lambda: held_bytes() + self._bytes)

    @property
    def arriving(self) -> int:
        """Bytes received of unfinished uploads."""
        return self._bytes

    @property
    def is_idle(self) -> bool:
        """Whether no upload is in progress and all counters are zero."""
        return not (self._bytes or self._by_address or self._by_owner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("PUT", "POST", "PATCH"):
            await self.app(scope, receive, send)
            return
        answered = ended = False

        async def tracked_receive() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body")
            return message

        async def tracked_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            arrival = self._arrival(scope)
            with self._arriving(arrival):
                bounded = self._bounded(tracked_receive, arrival)
                await self.app(scope, bounded, tracked_send)
        except Refused as refusal:
            if not answered:
                if refusal.status in (429, 503) and not ended:
                    await drained(receive)
                # The rest of the upload is not read.
                answer = problem_of(refusal, {"Connection": "close"})
                await answer(scope, receive, send)

    def _arrival(self, scope: Scope) -> Arrival:
        """Admit a request. Raises Refused if it exceeds a limit or announces to."""
        limits, address = settings(), address_of(scope)
        session = session_of(scope["path"])
        if session:
            spend("upload", address, session)
            files, size = held_uploads(session)
            if files + self._by_owner[session] >= limits.session_files:
                raise too_many("uploads of session", limits.session_files)
            limit = min(limits.upload_bytes, limits.session_mb * 2**20 - size)
            sentence = f"A photo may have at most {limits.upload_mb} MB."
        else:
            limit = limits.query_photos * limits.upload_bytes
            photos = quantity(limits.query_photos, "photo")
            sentence = f"A request may have at most {photos} of {limits.upload_mb} MB each."
        if self._by_address[address] >= limits.address_uploads:
            raise too_many("uploads of address", limits.address_uploads)
        arrival = Arrival(session or address, address, limit + FRAMING, sentence)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18:
            raise refuse("bad length", 400, "Content-Length is not a number.")
        if int(announced) > arrival.max_bytes:
            raise refuse("too large", 413, sentence)
        if held_bytes() + self._bytes + int(announced) > limits.arriving_mb * 2**20:
            raise busy("uploads of all", RETRY_SECONDS)
        return arrival

    @contextmanager
    def _arriving(self, arrival: Arrival) -> Iterator[None]:
        """Count an upload until it has been answered."""
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
        """Wrap `receive` to raise Refused for an upload that is too large or too slow, regardless
        of its announced length.
        """
        limits = settings()
        deadline = asyncio.get_running_loop().time() + limits.upload_seconds
        is_complete = False

        async def bounded() -> Message:
            nonlocal is_complete
            if is_complete:
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
            if arrival.bytes > arrival.max_bytes:
                raise refuse("too large", 413, arrival.sentence)
            if held_bytes() + self._bytes > limits.arriving_mb * 2**20:
                raise busy("uploads of all", RETRY_SECONDS)
            if not message.get("more_body"):
                is_complete = True
            return message

        return bounded


async def drained(receive: Receive) -> None:
    """Read and discard the rest of a refused upload, for at most DRAIN_SECONDS.

    A client that is cut off while it sends would see a broken connection instead of the answer.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body"):
                pass


def too_many(reason: str, limit: int) -> Refused:
    """A refusal for too many concurrent uploads. limit: the maximum number."""
    sentence = (
        f"At most {quantity(limit, 'upload')} at a time. Try again in {RETRY_SECONDS} seconds."
    )
    return refuse(reason, 429, sentence, RETRY_SECONDS)
