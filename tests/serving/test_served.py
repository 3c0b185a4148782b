"""A live server: what is kept of visitors who leave, whose address counts, and the client."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

from api.client.same_thing import Problem, SameThing
from tests.conftest import GALLERY, PATIENCE, ROOT
from tests.support.server import Session, serving, until

MB = 2**20


@pytest.fixture(scope="module")
def url(small_built):
    with serving(
        small_built / "store",
        GEM_FORGET_SECONDS="2",
        GEM_TRUSTED_PROXIES="127.0.0.1",
        GEM_CONNECTIONS_ADDRESS="3",
        GEM_UPLOADS_PER_MINUTE="6",
        GEM_UPLOAD_MB="11",
    ) as address:
        yield address


def metric(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=PATIENCE).text)
    samples = [s for family in families for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_a_visitor_who_left_is_forgotten_on_a_quiet_server(url):
    def held():
        return metric(url, "gem_upload_bytes")

    def memory():
        return metric(url, "process_resident_memory_bytes")

    before = metric(url, "gem_sessions_forgotten_total")
    session = Session(url, **{"X-Forwarded-For": "1.0.0.1"})
    assert [session.put(bytes([n]) * 8 * MB, str(n)).status_code for n in range(3)] == [204] * 3
    assert held() == 24 * MB
    until(lambda: metric(url, "gem_sessions", state="connected") == 1)
    full = memory()
    session.leave()
    # Nobody else comes: whatever is freed, the server frees by itself.
    until(lambda: held() == 0)
    until(lambda: metric(url, "gem_sessions") == 0)
    assert metric(url, "gem_sessions_forgotten_total") == before + 1
    until(lambda: memory() < full - 20 * MB)


def test_an_upload_that_ends_after_its_session_is_not_kept(url):
    session = Session(url, **{"X-Forwarded-For": "1.0.0.2"})
    forgotten = metric(url, "gem_sessions_forgotten_total")
    sent, may_end = threading.Event(), threading.Event()

    def body():
        yield b'--b\r\nContent-Disposition: form-data; name="F"; filename="x.jpg"\r\n\r\n'
        yield bytes(MB)
        sent.set()
        assert may_end.wait(PATIENCE)
        yield b"\r\n--b--\r\n"

    answers = []
    upload = threading.Thread(target=lambda: answers.append(session.put(body())))
    upload.start()
    assert sent.wait(PATIENCE)
    session.leave()
    until(lambda: metric(url, "gem_sessions_forgotten_total") == forgotten + 1)
    may_end.set()
    upload.join(PATIENCE)
    assert len(answers) == 1
    until(lambda: metric(url, "gem_upload_bytes") == 0)


def test_uploads_are_bounded_whatever_the_browser_says(url):
    session = Session(url, **{"X-Forwarded-For": "1.0.0.3"})
    assert session.put(bytes(11 * MB + 1)).status_code == 413

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="F"; filename="x.jpg"\r\n\r\n'
        for _ in range(40):
            yield bytes(MB)

    refused = metric(url, "gem_refused_total", why="too large")
    try:
        assert session.put(endless()).status_code == 413
    except httpx.TransportError:
        pass  # the server has closed the connection before all was sent
    assert metric(url, "gem_refused_total", why="too large") == refused + 1
    for name in "abcd":
        assert session.put(b"small", name).status_code == 204
    refused = None
    for _ in range(10):
        with suppress(httpx.TransportError):  # closed before the client has read the answer
            refused = refused or session.put(b"small", "e")
    assert refused.status_code == 429 and "application/problem+json" in str(refused.headers)
    session.leave()


def test_whose_address_counts_is_settled_for_websockets_and_the_api(url):
    """The proxy on this machine is trusted: three pages of one visitor, whoever else comes."""
    theirs = {"X-Forwarded-For": "6.6.6.6, 1.0.0.4"}  # what comes before the last they made up
    sessions = [Session(url, **theirs) for _ in range(3)]
    with pytest.raises(InvalidStatus):
        Session(url, **{"X-Forwarded-For": "7.7.7.7, 1.0.0.4"})
    sessions.append(Session(url, **{"X-Forwarded-For": "1.0.0.5"}))
    for session in sessions:
        session.leave()
    until(lambda: metric(url, "gem_connections") == 0)
    assert httpx.get(f"{url}/metrics", headers=theirs, timeout=PATIENCE).status_code == 404


def test_the_client_of_one_file(url, tmp_path):
    with SameThing(url) as server:
        hits = server.search(GALLERY / "colosseum.jpg", k=2)["hits"]
        assert [hit["file"] for hit in hits] == ["colosseum.jpg", "colosseum-2.jpg"]
        by_id = server.search(hits[0]["id"], k=1)["hits"]
        assert by_id[0]["file"] == "colosseum-2.jpg"
        found = server.match(GALLERY / "colosseum.jpg", hits[1]["id"])
        assert found["verified"] and len(found["points"]) == found["inliers"]
        assert (
            httpx.get(url + hits[0]["view"], timeout=PATIENCE).headers["content-type"]
            == "image/jpeg"
        )
        assert server.photo(0)["file"] and server.thumbnail(0)[:2] == b"\xff\xd8"
        with pytest.raises(Problem, match="not a photo in a supported format"):
            server.search(b"no photo")
    command = [sys.executable, "api/client/same_thing.py", url, str(GALLERY / "colosseum.jpg")]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[1].split()[0] == "sure" and "colosseum-2.jpg" in output
