"""The server below a path: the blocks of docs/hosting.md in nginx, with a browser before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect
from starlette.datastructures import Headers

from api.client.same_thing import SameThing
from serving.middleware.base_path import prefix_of
from tests.conftest import GALLERY, PATIENCE, ROOT
from tests.support.server import chromium, free_port, nginx, serving, settle, tab
from tests.ui.test_browser import upload

PREFIX, SITE = "/photos-search", "https://site.example"
BLOCKS = re.findall(r"```nginx\n(location .*?)```", (ROOT / "docs/hosting.md").read_text(), re.S)
OWN_SETTINGS = {"passes": {"STREAMLIT_SERVER_BASE_URL_PATH": PREFIX.strip("/")}, "strips": {}}


@contextmanager
def proxied(kind: str, store: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """A server and a proxy before it: the proxy's address with the path, and the server's own."""
    (block,) = [
        b for b in BLOCKS if ("proxy_pass http://127.0.0.1:8501/;" in b) == (kind == "strips")
    ]
    port = free_port()
    settings = {"GEM_TRUSTED_PROXIES": "127.0.0.1", "GEM_CORS": SITE} | OWN_SETTINGS[kind]
    with serving(store, **settings) as server:
        here = block.replace("127.0.0.1:8501", server.removeprefix("http://"))
        here = here.replace("Host $host", "Host $http_host")  # the port is not the usual one
        root = f"http://localhost:{port}"
        site = f"server {{ listen 127.0.0.1:{port}; {here} }}"
        with nginx(folder, site, root):
            yield root + PREFIX, server


@pytest.fixture(scope="module", params=OWN_SETTINGS)
def below(request, gallery_path, tmp_path_factory) -> Iterator[tuple[str, str]]:
    with proxied(request.param, gallery_path, tmp_path_factory.mktemp("nginx")) as addresses:
        yield addresses


def broken_pictures(page: Page) -> list[str]:
    """Addresses of the pictures that did not load, of those on the page, which must have some."""
    loaded = page.locator("img").evaluate_all(
        """images => Promise.all(images.map(async image => {
          image.loading = "eager";
          await image.decode().catch(() => {});
          return [image.src, image.naturalWidth];
        }))"""
    )
    assert loaded
    return [src for src, width in loaded if not width]


def test_the_page_has_its_pictures(below):
    url, _ = below
    errors: list[str] = []
    with chromium() as browser:
        page = tab(browser, viewport={"width": 1360, "height": 900})
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(f"{url}/")
        expect(page.get_by_text("Find photos of the very same thing")).to_be_visible()
        settle(page)
        assert broken_pictures(page) == []
        upload(page, "tour-eiffel.jpg")
        settle(page)
        assert broken_pictures(page) == []
        page.get_by_role("link", name="Explore").first.click()
        expect(page).to_have_url(re.compile(re.escape(f"{url}/explore")))
        page.reload()
        expect(page.locator("canvas").first).to_be_visible()  # the map is being made
    assert not errors


def test_the_links_of_the_api_lead_through_the_proxy(below):
    url, _ = below
    root = url.removesuffix(PREFIX)
    with SameThing(url) as server, httpx.Client(timeout=PATIENCE) as client:
        hits = server.search(GALLERY / "colosseum.jpg", k=3)["hits"]
        assert [hit["file"] for hit in hits[:2]] == ["colosseum.jpg", "colosseum-2.jpg"]
        for found in (*hits, server.photo(hits[0]["id"])):
            for link in (found["thumbnail"], found["view"]):
                assert link.startswith(f"{PREFIX}/photos/")
                picture = client.get(root + link)
                assert (
                    picture.status_code == 200 and picture.headers["content-type"] == "image/jpeg"
                )
        document = client.get(f"{url}/api/v1/openapi.json").json()
        assert document["servers"] == [{"url": PREFIX}]
        for address in (f"{url}/api/v1", f"{url}/api/v1/"):
            reference = client.get(address)
            (link,) = re.findall('href="([^"]+)"', reference.text)
            assert client.get(httpx.URL(address).join(link)).json() == document
        for wrong in ("api", "api/v1/nothing", "photos/none/0/thumbnail.jpg", "photos/nothing"):
            answer = client.get(f"{url}/{wrong}")
            assert answer.status_code == 404 and answer.json()["status"] == 404


def test_another_website_may_use_the_api_but_not_the_page(below):
    url, _ = below
    allowed = "access-control-allow-origin"
    with httpx.Client(headers={"Origin": SITE}, timeout=PATIENCE) as client:
        photo = {"photo": (GALLERY / "colosseum.jpg").read_bytes()}
        found = client.post(f"{url}/api/v1/search", files=photo)
        assert found.headers[allowed] == SITE
        picture = client.get(url.removesuffix(PREFIX) + found.json()["hits"][0]["thumbnail"])
        assert picture.status_code == 200 and picture.headers[allowed] == SITE
        preflight = {"Access-Control-Request-Method": "POST"}
        assert client.options(f"{url}/api/v1/search", headers=preflight).headers[allowed] == SITE
        for closed in ("/", "/readyz", "/_stcore/health", "/static/index.html"):
            assert allowed not in client.get(url + closed).headers


def test_health_is_at_its_own_address_only(below):
    url, server = below
    for address in (url, server):
        assert httpx.get(f"{address}/healthz", timeout=PATIENCE).json() == {"status": "ok"}
        ready = httpx.get(f"{address}/readyz", timeout=PATIENCE)
        assert ready.status_code == 200 and ready.json()["status"] == "ready"
    assert "gem_sessions" in httpx.get(f"{server}/metrics", timeout=PATIENCE).text
    for wrong in (f"{url}/photos", f"{server}/photo-search", f"{server}/a/b"):
        for name in ("healthz", "readyz", "api/v1/openapi.json"):
            assert httpx.get(f"{wrong}/{name}", timeout=PATIENCE).status_code == 404


@pytest.mark.parametrize(
    "peer, headers, prefix",
    [
        ("10.0.0.1", {"X-Forwarded-Prefix": "/a/b-c"}, "/a/b-c"),
        ("10.0.0.1", {"X-Forwarded-Prefix": "/a/"}, "/a"),
        ("10.0.0.1", {}, ""),
        ("10.0.0.1", {"X-Forwarded-Prefix": "/"}, ""),
        ("10.0.0.1", {"X-Forwarded-Prefix": "//evil.example"}, ""),
        ("10.0.0.1", {"X-Forwarded-Prefix": "https://evil.example"}, ""),
        ("10.0.0.1", {"X-Forwarded-Prefix": '/"><script>'}, ""),
        ("10.0.0.1", {"X-Forwarded-Prefix": "/a" * 101}, ""),
        ("9.9.9.9", {"X-Forwarded-Prefix": "/a"}, ""),
        ("9.9.9.9", {"X-Forwarded-Prefix": "/a", "X-Forwarded-For": "10.0.0.1"}, ""),
        # uvicorn has put the client in place of a proxy on this machine, which is not trusted here.
        ("9.9.9.9", {"X-Forwarded-Prefix": "/a", "X-Forwarded-For": "9.9.9.9"}, ""),
    ],
)
def test_only_a_trusted_proxy_names_a_prefix(monkeypatch, peer, headers, prefix):
    monkeypatch.setenv("GEM_TRUSTED_PROXIES", "10.0.0.0/8")
    raw = Headers(headers).raw
    assert prefix_of({"type": "http", "client": (peer, 1), "headers": raw}) == prefix


def test_links_have_both_what_was_stripped_and_the_base_path(monkeypatch):
    monkeypatch.setenv("GEM_TRUSTED_PROXIES", "10.0.0.0/8")
    monkeypatch.setattr(
        "serving.operations.streamlit_private.config.get_option", lambda _: "/base/"
    )
    raw = Headers({"X-Forwarded-Prefix": "/stripped"}).raw
    assert (
        prefix_of({"type": "http", "client": ("10.0.0.1", 1), "headers": raw}) == "/stripped/base"
    )
