"""What the page's process keeps open, and what many visitors at once see of it."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from ui.service import Service

from index_store import Store, StoreError, build
from search import Engine
from tests.conftest import GALLERY
from ui import routes
from ui.routes import ROUTES, view_url


@pytest.fixture
def store_path(photos, tmp_path, extractor, monkeypatch):
    """A small store that the page serves."""
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    return tmp_path / "s"


@pytest.fixture
def service(monkeypatch, extractor) -> Service:
    """A fresh one, that does not try engines out."""
    monkeypatch.setattr("ui.service.extractor_of", lambda model: extractor)
    return Service()


def test_a_new_generation_is_opened_once_and_the_old_one_can_be_finished(
    service, store_path, photos, extractor
):
    old = service.gallery()
    assert service.gallery() is old and len(old.engine.store) == 12
    query = old.engine.prepare((GALLERY / "wine.jpg").read_bytes())
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    new = service.gallery()
    assert new is not old and service.gallery() is new and len(new.engine.store) == 11
    # A visitor in the middle of a search still has the engine it began with.
    assert len(old.engine.search(query, rerank="diffusion", verify="sift").hits) == 12
    with pytest.raises(ValueError, match="renew"):
        new.engine.search(query)
    assert len(new.engine.search(new.engine.renew(query)).hits) == 11


def test_visitors_at_once_open_a_generation_once(service, store_path, monkeypatch):
    opened = []

    class Counted(Store):
        def __init__(self, *arguments):
            opened.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("ui.service.Store", Counted)
    with ThreadPoolExecutor(8) as pool:
        galleries = list(pool.map(lambda _: service.gallery(), range(8)))
    assert len(opened) == 1 and len({id(gallery) for gallery in galleries}) == 1


def test_a_generation_that_cannot_be_opened_leaves_the_last_one(service, store_path, monkeypatch):
    gallery = service.gallery()
    pointer = (store_path / "CURRENT").read_text()
    (store_path / "CURRENT").write_text("damaged")
    assert service.gallery() is gallery
    (store_path / "CURRENT").write_text(pointer)
    assert service.gallery() is gallery
    monkeypatch.setenv("GEM_STORE", str(store_path / "none"))
    with pytest.raises(StoreError):
        service.gallery()


def test_pictures_do_not_keep_a_deleted_generation(
    service, store_path, photos, extractor, monkeypatch
):
    monkeypatch.setattr(routes, "service", service)
    client = TestClient(Starlette(routes=ROUTES))
    store = service.gallery().engine.store
    assert client.get(view_url(store, 2)).status_code == 200
    decoded = []
    monkeypatch.setattr(Store, "pixels", lambda *arguments: decoded.append(arguments))
    assert client.get(view_url(store, 2)).status_code == 200 and decoded == []  # held ready
    monkeypatch.undo()
    monkeypatch.setenv("GEM_STORE", str(store_path))
    monkeypatch.setattr(routes, "service", service)
    gone = weakref.ref(store)
    del store
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    assert client.get("/healthz").json() == {"status": "ok", "photos": 11}
    gc.collect()
    assert gone() is None


def test_searches_at_once_are_searches_one_by_one(gallery, extractor):
    """Several visitors with one engine, and two clicks of one visitor with one prepared query."""
    names = ["colosseum.jpg", "petra.jpg", "tour-eiffel.jpg", "taj-mahal.jpg"]
    ways = [(None, None), ("diffusion", None), (None, "sift"), ("diffusion", "sift")]
    tasks = [(name, way) for name in names for way in ways]

    def answer(engine, query, way):
        hits = engine.search(query, *way, k=40).hits
        return [(hit.file, hit.score, hit.probability, hit.inliers) for hit in hits]

    engine = Engine(gallery, extractor)
    sources = {name: (GALLERY / name).read_bytes() for name in names}
    expected = [answer(engine, engine.prepare(sources[name]), way) for name, way in tasks]
    fresh = Engine(gallery, extractor)
    queries = {name: fresh.prepare(sources[name]) for name in names}
    start = threading.Barrier(len(tasks))

    def task(what):
        name, way = what
        start.wait(timeout=60)
        return answer(fresh, queries[name], way)

    with ThreadPoolExecutor(len(tasks)) as pool:
        assert list(pool.map(task, tasks)) == expected
