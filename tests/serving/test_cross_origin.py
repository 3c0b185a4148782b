"""Other websites: none may read anything by default, named ones only API and pictures."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from serving.middleware.cross_origin import CrossOrigin
from serving.middleware.uploads import UploadLimits
from serving.settings import BadSettings, settings

OURS, OTHER = "https://site.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST"}


async def hello(request):
    return PlainTextResponse(f"{len(await request.body())}")


async def greets(socket):
    await socket.accept()
    await socket.send_text("hello")


PATHS = ("/api/v1/search", "/api/v1/photos", "/photos/a/0/thumbnail.jpg")
CLOSED = ("/", "/readyz", "/metrics", "/apiary", "/_stcore/host-config", "/maps/a.bin")


@pytest.fixture
def client(monkeypatch):
    def made(origins: str) -> TestClient:
        monkeypatch.setenv("GEM_CORS", origins)
        routes = [Route("/{path:path}", hello, methods=["GET", "POST"])]
        app = Starlette(routes=[WebSocketRoute("/_stcore/stream", greets), *routes])
        return TestClient(CrossOrigin(UploadLimits(app)))

    return made


def shared_with(answer) -> str | None:
    assert "access-control-allow-credentials" not in answer.headers
    return answer.headers.get("access-control-allow-origin")


def ask(client: TestClient, method: str, path: str, origin: str, **headers: str):
    return client.request(method, path, headers={"Origin": origin, **headers})


@pytest.mark.parametrize("path", [*PATHS, *CLOSED])
def test_without_the_setting_nothing_is_shared(client, path):
    off = client("")
    for method, headers in (("GET", {}), ("POST", {}), ("OPTIONS", PREFLIGHT)):
        answer = ask(off, method, path, OURS, **headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
def test_named_origins_may_read_and_others_not(client, path):
    named = client(f"http://localhost:3000, {OURS}")
    for method in ("GET", "POST"):
        answer = ask(named, method, path, OURS, Cookie="a=b")
        assert shared_with(answer) == OURS and "Origin" in answer.headers["vary"]
        assert answer.headers["access-control-expose-headers"] == "Retry-After"
        for other in (OTHER, "null", f"{OURS}.evil.example", "http://site.example", f"{OURS}:8443"):
            assert shared_with(ask(named, method, path, other)) is None
    allowed = ask(named, "OPTIONS", path, OURS, **PREFLIGHT)
    assert allowed.status_code == 200 and shared_with(allowed) == OURS
    assert set(allowed.headers["access-control-allow-methods"].split(", ")) == {
        "GET",
        "HEAD",
        "POST",
    }
    refused = ask(named, "OPTIONS", path, OTHER, **PREFLIGHT)
    assert refused.status_code == 400 and shared_with(refused) is None
    assert "Origin" in named.get(path).headers["vary"], "a cache must not hand it to a website"


@pytest.mark.parametrize("origins", [OURS, "*"])
@pytest.mark.parametrize("path", CLOSED)
def test_the_page_is_never_shared(client, path, origins):
    named = client(origins)
    for method, headers in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        assert shared_with(ask(named, method, path, OURS, **headers)) is None
    with named.websocket_connect("/_stcore/stream", headers={"Origin": OURS}) as socket:
        assert socket.receive_text() == "hello", "it is left to Streamlit, as before"


def test_a_star_is_any_origin_without_credentials(client):
    anybody = client("*")
    for method, headers in (("POST", {"Cookie": "a=b"}), ("OPTIONS", PREFLIGHT)):
        assert shared_with(ask(anybody, method, PATHS[0], OTHER, **headers)) == "*"


def test_uploads_arrive_and_the_reason_of_a_refusal_can_be_read(client, monkeypatch):
    named = client(OURS)
    answer = named.post(PATHS[0], files={"photo": b"x" * 1000}, headers={"Origin": OURS})
    assert int(answer.text) > 1000 and shared_with(answer) == OURS
    monkeypatch.setenv("GEM_UPLOAD_MB", "1")
    large = named.post(PATHS[0], content=bytes(6 * 2**20), headers={"Origin": OURS})
    assert large.status_code == 413 and shared_with(large) == OURS


def test_below_a_path(client, monkeypatch):
    monkeypatch.setattr("serving.middleware.cross_origin.base_path", lambda: "/base")
    named = client(OURS)
    assert shared_with(ask(named, "GET", "/base/api/v1/photos", OURS)) == OURS
    assert shared_with(ask(named, "GET", "/base/", OURS)) is None


@pytest.mark.parametrize(
    "origins",
    ["example.org", "https://a.example/", "https://a.example/x", "null", "ftp://a", "*.a"],
)
def test_what_is_no_origin_ends_the_server_with_a_sentence(monkeypatch, origins):
    monkeypatch.setenv("GEM_CORS", origins)
    with pytest.raises(BadSettings, match="GEM_CORS.*such as https://example.org"):
        settings()
