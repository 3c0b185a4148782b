"""Uploads and websockets while they arrive, and sessions that are forgotten."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from serving.decoding.taken_uploads import TakenUploads, taken_bytes
from serving.middleware import uploads
from serving.middleware.connections import ConnectionLimits
from serving.middleware.uploads import UploadLimits
from serving.operations.sessions import SessionReaper
from serving.queue.quota import Quota
from serving.settings import Settings, settings

MB = 2**20


class Visitor:
    """One request: what it sends piece by piece, and what it is answered."""

    def __init__(self, path="/_stcore/upload_file/S/F", method="PUT", client="9.9.9.9", **headers):
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "client": (client, 1),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }
        self.pieces: asyncio.Queue = asyncio.Queue()
        self.sent: list[dict] = []

    def say(self, size: int, more: bool = False) -> Visitor:
        message = {"type": "http.request", "body": bytes(size), "more_body": more}
        self.pieces.put_nowait(message)
        return self

    async def send(self, message):
        self.sent.append(message)

    async def call(self, app) -> Visitor:
        await app(self.scope, self.pieces.get, self.send)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def said(self) -> str:
        return json.loads(self.sent[1]["body"])["detail"]

    def header(self, name: str) -> str | None:
        return dict(self.sent[0]["headers"]).get(name.encode(), b"").decode() or None


async def reads_all(scope, receive, send):
    """An app that takes the whole body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def held(monkeypatch):
    """What Streamlit holds: session -> sizes of its files."""
    files: dict[str, list[int]] = {}

    def held_uploads(session=None):
        sizes = [size for owner in files if session in (None, owner) for size in files[owner]]
        return len(sizes), sum(sizes)

    monkeypatch.setattr(uploads, "held_uploads", held_uploads)
    return files


def test_a_photo_within_the_limits_arrives(held):
    async def scenario():
        limits = UploadLimits(reads_all)
        visitor = await Visitor(content_length=str(12 * MB)).say(12 * MB).call(limits)
        assert visitor.status == 204 and limits.is_idle

    asyncio.run(scenario())


@pytest.mark.parametrize("announced", [True, False])
def test_a_photo_that_is_too_large_is_refused_whatever_it_says(held, announced):
    async def scenario():
        limits = UploadLimits(reads_all)
        headers = {"content_length": str(14 * MB)} if announced else {}
        visitor = Visitor(**headers)
        for _ in range(14):
            visitor.say(MB, more=True)
        await visitor.call(limits)
        assert visitor.status == 413 and visitor.said == "A photo may have at most 12 MB."
        assert visitor.header("content-type") == "application/problem+json"
        assert visitor.pieces.qsize() == (14 if announced else 0), "and refused before it is read"
        assert limits.is_idle

    asyncio.run(scenario())


@pytest.mark.parametrize("length", ["-5", "1e3", "٣", "9" * 30, ""])
def test_a_length_that_is_none(held, length):
    visitor = Visitor()
    visitor.scope["headers"].append((b"content-length", length.encode("utf-8")))
    asyncio.run(visitor.call(UploadLimits(reads_all)))
    assert visitor.status == 400


def test_a_session_holds_so_many_files_and_bytes(held, monkeypatch):
    monkeypatch.setattr(Settings, "session_files", 4)
    monkeypatch.setattr(Settings, "session_mb", 24)

    async def scenario():
        limits = UploadLimits(reads_all)
        held["S"] = [MB] * 4
        assert (await Visitor().say(1).call(limits)).status == 429
        held["S"] = [MB] * 3
        assert (await Visitor().say(1).call(limits)).status == 204
        held["S"] = [12 * MB, 10 * MB]  # 2 MB are left, and one for the form
        assert (await Visitor().say(2 * MB).call(limits)).status == 204
        assert (await Visitor().say(3 * MB + 1).call(limits)).status == 413
        other = Visitor("/base/_stcore/upload_file/T/F").say(12 * MB)
        assert (await other.call(limits)).status == 204

    asyncio.run(scenario())


def test_an_address_sends_so_many_at_one_time(held, monkeypatch):
    monkeypatch.setattr(Settings, "address_uploads", 2)

    async def scenario():
        limits = UploadLimits(reads_all)
        first = [Visitor(f"/_stcore/upload_file/{s}/F").say(1, more=True) for s in "AB"]
        tasks = [asyncio.create_task(visitor.call(limits)) for visitor in first]
        await asyncio.sleep(0)
        third = await Visitor("/_stcore/upload_file/C/F").say(1).call(limits)
        assert third.status == 429 and third.header("retry-after") == "10"
        assert third.pieces.empty(), "it has arrived, so that the sender hears the answer"
        elsewhere = Visitor("/_stcore/upload_file/D/F", client="8.8.8.8").say(1)
        assert (await elsewhere.call(limits)).status == 204
        for visitor in first:
            visitor.say(1)
        await asyncio.gather(*tasks)
        assert [visitor.status for visitor in first] == [204, 204]
        again = Visitor("/_stcore/upload_file/C/F").say(1)
        assert (await again.call(limits)).status == 204

    asyncio.run(scenario())


def test_all_together_hold_so_many_bytes(held, monkeypatch):
    monkeypatch.setenv("GEM_ARRIVING_MB", "20")

    async def scenario():
        limits = UploadLimits(reads_all)
        held["X"] = [10 * MB]
        slow = Visitor("/_stcore/upload_file/A/F").say(8 * MB, more=True)
        task = asyncio.create_task(slow.call(limits))
        await asyncio.sleep(0)
        assert limits.arriving == 8 * MB
        announced = Visitor("/_stcore/upload_file/B/F", content_length=str(3 * MB))
        refused = await announced.say(3 * MB).call(limits)
        assert refused.status == 503 and refused.said == "Busy, try again in 10 seconds."
        assert refused.header("retry-after") == "10"
        # Without a length it is found out while it arrives.
        silent = Visitor("/_stcore/upload_file/C/F").say(11 * MB, more=True).say(2 * MB)
        assert (await silent.call(limits)).status == 503 and silent.pieces.empty()
        slow.say(1)
        await task
        assert slow.status == 204 and limits.arriving == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("announced", [True, False])
def test_what_is_held_counts_whoever_holds_it(held, monkeypatch, announced):
    monkeypatch.setenv("GEM_ARRIVING_MB", "20")
    headers = {"content_length": str(3 * MB)} if announced else {}

    async def status() -> int:
        visitor = Visitor("/_stcore/upload_file/B/F", **headers).say(3 * MB)
        return (await visitor.call(UploadLimits(reads_all))).status

    before = taken_bytes()
    held["X"] = [10 * MB]
    taken, waiting = [TakenUploads([("name", bytes(4 * MB))], 4 * MB) for _ in range(2)]
    assert taken_bytes() == before + 8 * MB
    assert asyncio.run(status()) == 503
    taken.clear()
    assert not taken and asyncio.run(status()) == 204
    held["X"] = [14 * MB]
    assert asyncio.run(status()) == 503
    del waiting  # as when a session ends
    assert taken_bytes() == before and asyncio.run(status()) == 204


def test_an_upload_that_never_ends_is_ended(held, monkeypatch):
    async def scenario():
        loop = asyncio.get_running_loop()
        limits, visitor = UploadLimits(reads_all), Visitor().say(1, more=True)
        start = loop.time()
        task = asyncio.create_task(visitor.call(limits))
        await asyncio.sleep(0.01)
        assert not task.done()
        monkeypatch.setattr(loop, "time", lambda: start + 121)  # two minutes later
        loop.call_soon_threadsafe(int)  # the loop looks at its clock again
        await task
        assert visitor.status == 408 and limits.arriving == 0

    asyncio.run(scenario())


def test_the_time_for_the_answer_is_not_the_time_of_the_upload(held, monkeypatch):
    """What comes after the body is a turn in the queue."""
    seen = []

    async def waits_for_the_caller(scope, receive, send):
        await receive()
        seen.append(asyncio.create_task(receive()))
        await asyncio.sleep(0)
        await reads_nothing(send)

    async def reads_nothing(send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def scenario():
        visitor = Visitor("/api/v1/search", "POST").say(5)
        await visitor.call(UploadLimits(waits_for_the_caller))
        assert visitor.status == 200 and not seen[0].done()
        seen[0].cancel()

    asyncio.run(scenario())


def test_an_abandoned_upload_is_not_counted_any_more(held):
    async def scenario():
        limits, visitor = UploadLimits(reads_all), Visitor().say(MB, more=True)
        visitor.pieces.put_nowait({"type": "http.disconnect"})
        await visitor.call(limits)
        assert limits.is_idle

    asyncio.run(scenario())


def test_a_refused_upload_is_not_waited_for_without_end(held, monkeypatch):
    monkeypatch.setattr(Settings, "address_uploads", 1)
    monkeypatch.setattr(uploads, "DRAIN_SECONDS", 0.01)

    async def scenario():
        limits = UploadLimits(reads_all)
        first = Visitor("/_stcore/upload_file/A/F").say(1, more=True)
        task = asyncio.create_task(first.call(limits))
        await asyncio.sleep(0)
        endless = Visitor("/_stcore/upload_file/B/F").say(1, more=True)
        assert (await endless.call(limits)).status == 429
        first.say(1)
        await task

    asyncio.run(scenario())


def test_too_many_uploads_in_a_minute(held, monkeypatch):
    monkeypatch.setenv("GEM_UPLOADS_PER_MINUTE", "2")

    async def scenario():
        limits = UploadLimits(reads_all)
        calls = [await Visitor().say(1).call(limits) for _ in range(3)]
        assert [visitor.status for visitor in calls] == [204, 204, 429]
        assert calls[2].said.startswith("Too many requests. Try again in")

    asyncio.run(scenario())


# -- websockets ------------------------------------------------------------------------------------


class Socket:
    """One websocket, and what its app is told."""

    def __init__(self, client="9.9.9.9"):
        self.scope = {"type": "websocket", "path": "/_stcore/stream", "client": (client, 1)}
        self.scope["headers"] = []
        self.messages: asyncio.Queue = asyncio.Queue()
        self.messages.put_nowait({"type": "websocket.connect"})
        self.told: list[dict] = []
        self.sent: list[dict] = []

    def open(self, limits) -> asyncio.Task:
        async def send(message):
            self.sent.append(message)

        self.scope["socket"] = self
        return asyncio.create_task(limits(self.scope, self.messages.get, send))


async def listens(scope, receive, send):
    """An app that notes what it is told until the visitor leaves."""
    told = scope["socket"].told
    while not told or told[-1]["type"] != "websocket.disconnect":
        told.append(await receive())


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


def test_so_many_pages_are_open(monkeypatch):
    monkeypatch.setenv("GEM_CONNECTIONS", "3")
    monkeypatch.setenv("GEM_CONNECTIONS_ADDRESS", "2")

    async def scenario():
        limits = ConnectionLimits(listens)
        sockets = [Socket(), Socket(), Socket(), Socket("8.8.8.8"), Socket("7.7.7.7")]
        tasks = [socket.open(limits) for socket in sockets]
        await settled()
        assert [len(socket.told) for socket in sockets] == [1, 1, 0, 1, 0]
        assert [socket.sent[0]["code"] for socket in (sockets[2], sockets[4])] == [1013, 1013]
        sockets[0].messages.put_nowait({"type": "websocket.disconnect"})
        await tasks[0]
        late = Socket()
        task = late.open(limits)
        await settled()
        assert len(late.told) == 1
        for socket in (sockets[1], sockets[3], late):
            socket.messages.put_nowait({"type": "websocket.disconnect"})
        await asyncio.gather(*tasks, task)
        assert limits.open == 0

    asyncio.run(scenario())


def test_a_connection_without_a_word_is_closed(monkeypatch):
    async def scenario():
        loop = asyncio.get_running_loop()
        limits, silent, talking = ConnectionLimits(listens), Socket(), Socket()
        tasks = [silent.open(limits), talking.open(limits)]
        talking.messages.put_nowait({"type": "websocket.receive", "bytes": b"hello"})
        await settled()
        start = loop.time()
        monkeypatch.setattr(loop, "time", lambda: start + 21)
        loop.call_soon_threadsafe(int)  # the loop looks at its clock again
        await tasks[0]
        assert silent.told[-1]["type"] == "websocket.disconnect"
        assert not tasks[1].done(), "who has spoken may be silent for ever"
        talking.messages.put_nowait({"type": "websocket.disconnect"})
        await tasks[1]

    asyncio.run(scenario())


def test_text_is_no_message(monkeypatch):
    async def scenario():
        limits, socket = ConnectionLimits(listens), Socket()
        task = socket.open(limits)
        socket.messages.put_nowait({"type": "websocket.receive", "text": "hello"})
        await task
        assert [m["type"] for m in socket.told] == ["websocket.connect", "websocket.disconnect"]

    asyncio.run(scenario())


def test_who_talks_without_end_is_cut_short(monkeypatch):
    monkeypatch.setattr(Settings, "messages_per_minute_address", 3)
    quota = Quota(settings())
    monkeypatch.setattr("serving.refusal.quota", lambda: quota)

    async def scenario():
        limits, loud, other = ConnectionLimits(listens), Socket("6.6.6.6"), Socket("5.5.5.5")
        tasks = [loud.open(limits), other.open(limits)]
        for _ in range(5):
            loud.messages.put_nowait({"type": "websocket.receive", "bytes": b"click"})
        other.messages.put_nowait({"type": "websocket.receive", "bytes": b"click"})
        await tasks[0]
        kinds = [message["type"].partition(".")[2] for message in loud.told]
        assert kinds == ["connect", "receive", "receive", "receive", "disconnect"]
        await settled()
        assert len(other.told) == 2 and not tasks[1].done(), "another address has its own share"
        other.messages.put_nowait({"type": "websocket.disconnect"})
        await tasks[1]

    asyncio.run(scenario())


# -- sessions --------------------------------------------------------------------------------------


class Runtime:
    """Streamlit's, as far as it is asked."""

    def __init__(self):
        self.connected, self.left, self.closed = set(), set(), []
        self.uploaded_file_mgr = SimpleNamespace(
            file_storage={},
            remove_session_files=lambda id: self.uploaded_file_mgr.file_storage.pop(id),
        )
        self._session_mgr = SimpleNamespace(list_sessions=self._sessions)

    def _sessions(self):
        names = [*self.connected, *self.left]
        return [SimpleNamespace(session=SimpleNamespace(id=name)) for name in names]

    def is_active_session(self, id):
        return id in self.connected

    def close_session(self, id):
        self.left.discard(id)
        self.closed.append(id)


def test_who_left_is_forgotten_in_time_and_who_comes_back_is_not():
    runtime, now = Runtime(), [0.0]
    clock = SessionReaper(runtime, 30, lambda: now[0])
    runtime.connected |= {"a", "b", "stays"}
    assert clock.tick() == 0
    runtime.connected -= {"a", "b"}
    runtime.left |= {"a", "b"}
    assert clock.tick() == 0
    now[0] = 29
    assert clock.tick() == 0
    runtime.left.discard("b")
    runtime.connected.add("b")
    now[0] = 30
    assert clock.tick() == 1 and runtime.closed == ["a"]
    runtime.connected.discard("b")
    runtime.left.add("b")
    now[0] = 59
    assert clock.tick() == 0, "b was back: its time starts again"
    now[0] = 89
    assert clock.tick() == 1 and runtime.closed == ["a", "b"]
    now[0] = 1000
    assert clock.tick() == 0 and runtime.connected == {"stays"}


def test_an_upload_that_ends_after_its_session_is_nobodys():
    runtime = Runtime()
    runtime.connected.add("here")
    runtime.left.add("back soon")
    storage = runtime.uploaded_file_mgr.file_storage
    storage.update({"here": {}, "back soon": {}, "gone": {}})
    SessionReaper(runtime, 30, lambda: 0.0).tick()
    assert set(storage) == {"here", "back soon"}
