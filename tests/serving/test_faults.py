"""What goes wrong while visitors search: the service goes on, and says so in log and metrics."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from evaluation.studies.serving.load import MIXED, Tally, World
from evaluation.studies.serving.tab import Answer, Tab
from extractor import DEFAULT_MODEL, OWNER
from index_store import build
from tests.conftest import FEW_PHOTOS, GALLERY, PATIENCE, ROOT
from tests.support.server import serving, until

PHOTO = (GALLERY / "colosseum.jpg").read_bytes()
SERVED = "api extractor index_store matching model/weights search serving ui .streamlit".split()


class Visitors:
    """Two visitors who do all that can be done, until they are told to stop."""

    def __init__(self, url: str):
        files = [name for name in FEW_PHOTOS if name != "dune.jpg"]
        world = World(url, files, [PHOTO], MIXED, (0.1, 0.5), 1)
        self.tally = Tally()
        self._world = world
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._begun = threading.Event()
        self._thread.start()
        assert self._begun.wait(PATIENCE)

    async def _run(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        visits = [self._world.visit(n, lambda _: False, self.tally) for n in range(2)]
        tasks = [asyncio.create_task(visit) for visit in visits]
        self._begun.set()
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def answered(self) -> int:
        return sum(map(len, self.tally.seconds.values()))

    def go_on(self) -> None:
        """Wait until they have had some more answers."""
        enough = self.answered() + 3
        until(lambda: self.answered() >= enough)

    def leave(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)


@pytest.fixture(scope="module")
def service(small_built, tmp_path_factory, extractor) -> Iterator[SimpleNamespace]:
    """A server with its own copy of store, photos, code and model, and visitors who search."""
    base = tmp_path_factory.mktemp("service")
    shutil.copytree(small_built / "photos", base / "photos")
    shutil.copytree(small_built / "store", base / "store")
    build(base / "photos", base / "store", extractor)
    project = base / "project"
    for room in SERVED:
        shutil.copytree(ROOT / room, project / room)
    for module in ("app.py", "plurals.py", "validation.py"):
        shutil.copy(ROOT / module, project)
    settings = {
        "GEM_TRUSTED_PROXIES": "127.0.0.1",
        "GEM_DECODE_WORKERS": "1",
        "GEM_UPLOAD_SECONDS": "3",
        "GEM_DECODE_SECONDS": "60",
    }
    log = base / "log"
    with serving(base / "store", log, project, **settings) as url:
        visitors = Visitors(url)
        try:
            visitors.go_on()
            model = project / DEFAULT_MODEL.relative_to(ROOT)
            yield SimpleNamespace(url=url, base=base, log=log, visitors=visitors, model=model)
        finally:
            visitors.leave()
    # Nobody has seen anything but answers and refusals.
    assert not visitors.tally.errors, visitors.tally.errors
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert not any("127.0.0.1" in str(line) or "10.1.0." in str(line) for line in lines)


def metric(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=PATIENCE).text)
    samples = [s for family in families for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def refused(service, why: str) -> float:
    return metric(service.url, "gem_refused_total", why=why)


def server_of(service) -> int:
    """The server's process: the one that has our log open."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                os.readlink(folder / "fd" / "2") == str(service.log)
                and b"streamlit" in (folder / "cmdline").read_bytes()
            ):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("there is no server")


def decoders(server: int) -> list[int]:
    """Those of uploads; photos of the gallery have others."""
    text = "".join(path.read_text() for path in Path(f"/proc/{server}/task").glob("*/children"))
    command = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in text.split()}
    # A process that has ended has no words.
    return [pid for pid, words in command.items() if words and OWNER.prefix not in words]


def unread(pid: int) -> int:
    """Bytes that have been sent to a process's input, and that it has not read."""
    line = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(line, termios.FIONREAD, bytes(4)))
    finally:
        os.close(line)
    return count


def open_upload(url: str, body: bytes, length: int) -> socket.socket:
    """An upload to the API that has begun. body: what is sent of `length` bytes."""
    host, port = url.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)), timeout=PATIENCE)
    head = (
        f"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 9.9.9.9\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    )
    line.sendall(head.encode() + body)
    return line


def test_a_decoder_is_killed(service):
    killed = metric(service.url, "gem_decoders_ended_total", why="killed")
    server = server_of(service)
    until(lambda: len(decoders(server)) == 1)
    (pid,) = decoders(server)
    os.kill(pid, signal.SIGSTOP)
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(
            httpx.post(f"{service.url}/api/v1/search", files={"photo": PHOTO}, timeout=PATIENCE)
        )

    sender = threading.Thread(target=send)
    sender.start()

    def has_a_photo() -> bool:
        """Whether one is on its way, this one or a visitor's; ends the one it was stopped in."""
        if not unread(pid):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)
            os.kill(pid, signal.SIGSTOP)
        return unread(pid) > 0

    until(has_a_photo)
    os.kill(pid, signal.SIGKILL)
    sender.join(PATIENCE)
    until(lambda: metric(service.url, "gem_decoders_ended_total", why="killed") == killed + 1)
    answer = answers[0]
    assert answer.status_code == 200 or (
        answer.status_code == 503 and answer.headers["retry-after"] == "10"
    )
    service.visitors.go_on()
    assert decoders(server) != [pid] and "a decoding process has ended" in service.log.read_text()


def test_the_store_is_replaced_and_the_model_file_is_gone(service, extractor):
    model = service.model.read_bytes()
    service.model.unlink()
    service.visitors.go_on()
    (service.base / "photos" / "dune.jpg").unlink()
    build(service.base / "photos", service.base / "store", extractor)
    service.visitors.go_on()
    service.model.write_bytes(model)
    until(lambda: metric(service.url, "gem_gallery_photos") == len(FEW_PHOTOS) - 1)
    service.visitors.go_on()
    pointer = service.base / "store" / "CURRENT"
    pointer.rename(pointer.with_name("elsewhere"))
    try:
        service.visitors.go_on()
        until(lambda: "still serving the previous generation" in service.log.read_text())
        assert httpx.get(f"{service.url}/readyz", timeout=PATIENCE).status_code == 200
    finally:
        pointer.with_name("elsewhere").rename(pointer)


def test_a_click_on_a_hit_after_a_build_opens_the_evidence(service, extractor):
    """The click needs the full answer, which must be recomputed for the new generation first."""
    photos = service.base / "photos"

    async def click() -> Answer:
        tab = Tab(service.url, "10.3.0.1")
        try:
            hit = (await tab.open("photo=colosseum.jpg")).hits[0]
            shutil.copy(GALLERY / "dune.jpg", photos)
            await asyncio.to_thread(build, photos, service.base / "store", extractor)
            served = partial(metric, service.url, "gem_gallery_photos")
            await asyncio.to_thread(until, lambda: served() == len(FEW_PHOTOS))
            return await tab.open_hit(hit)
        finally:
            await tab.close()

    assert asyncio.run(click()).matched


def test_the_disk_is_full(service):
    """No byte can be written to any file, the log's included."""
    server = server_of(service)
    limits = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        large = PHOTO + bytes(3 * 2**20)  # more than a form keeps in memory by itself
        answer = httpx.post(
            f"{service.url}/api/v1/search", files={"photo": large}, timeout=PATIENCE
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["hits"][0]["file"] == "colosseum.jpg"
        service.visitors.go_on()
    finally:
        resource.prlimit(server, resource.RLIMIT_FSIZE, limits)


def test_slow_and_aborted_uploads(service):
    slow = refused(service, "slow upload")
    begin = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
    lines = [open_upload(service.url, begin + bytes(1000), 10**6) for _ in range(7)]
    service.visitors.go_on()
    statuses = sorted(line.recv(12).split()[1] for line in lines)
    assert statuses == [b"408"] * 6 + [b"429"], "six of one address at one time, three seconds each"
    assert refused(service, "slow upload") == slow + 6
    for line in lines:
        line.close()
    for _ in range(6):
        open_upload(service.url, begin + bytes(2**20), 2**22).close()
    until(lambda: metric(service.url, "gem_upload_bytes") < 2**20)
    service.visitors.go_on()


def test_sixty_websockets_without_a_word(service):
    silent, address = (
        refused(service, "silent connection"),
        f"{service.url.replace('http', 'ws')}/_stcore/stream",
    )

    def open_one(number: int) -> ClientConnection:
        headers = {"X-Forwarded-For": f"10.2.0.{number // 20}"}
        return connect(address, additional_headers=headers, legacy=True, **PATIENT)

    lines = [open_one(number) for number in range(20)]
    with pytest.raises(InvalidStatus):
        open_one(0)
    lines += [open_one(number) for number in range(20, 60)]
    service.visitors.go_on()
    until(lambda: refused(service, "silent connection") == silent + 60)
    until(lambda: metric(service.url, "gem_connections") <= 2)
    for line in lines:
        line.close()


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
PATIENT = {"open_timeout": PATIENCE, "close_timeout": 1}


def test_what_no_browser_sends(service):
    """Malformed messages, and the names and origins of others."""
    before = refused(service, "malformed message")
    address = f"{service.url.replace('http', 'ws')}/_stcore/stream"
    for message in ("text", b"\xff" * 100, b"\x0a" * 2**16):
        with connect(address, **PATIENT) as line:
            line.send(message)
            with pytest.raises(ConnectionClosed):
                while True:
                    line.recv(PATIENCE)
    assert refused(service, "malformed message") == before + 3
    for headers, why in (
        ({"Host": "evil.example"}, "wrong host"),
        ({"Origin": "http://evil.example"}, "wrong origin"),
    ):
        count = refused(service, why)
        answer = httpx.get(
            f"{service.url}/_stcore/stream", headers=HANDSHAKE | headers, timeout=PATIENCE
        )
        assert answer.status_code == 403 and refused(service, why) == count + 1
    answer = httpx.get(service.url, headers={"Host": "evil.example"}, timeout=PATIENCE)
    assert answer.status_code == 421
    service.visitors.go_on()
