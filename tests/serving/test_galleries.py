"""What the server keeps open, and what many visitors at once see of it."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.routes import ROUTES as API_ROUTES
from extractor import DEFAULT_MODEL, Extractor
from index_store import PRESETS, Store, build, candidate_ids, verify
from index_store.ann.nearest import exact_search
from search import Engine
from serving.galleries.galleries import Galleries, ReloadingStore, extractor_of
from serving.galleries.gallery import Gallery, NoGallery
from serving.galleries.pictures import Pictures, thumbnail_url, view_url
from serving.galleries.queries import GalleryQueries
from serving.galleries.readiness import finds_itself
from serving.operations import prometheus
from tests.conftest import GALLERY, PATIENCE, QuickExtractor
from ui import routes
from ui.routes import ROUTES


@pytest.fixture
def store_path(photos, small_built, tmp_path, extractor, monkeypatch):
    """A small store that is served; nothing of it is described again."""
    shutil.copytree(small_built / "store", tmp_path / "s")
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    return tmp_path / "s"


@pytest.fixture
def served(monkeypatch, extractor) -> Galleries:
    """Fresh ones, that do not try engines out."""
    monkeypatch.setattr("serving.galleries.galleries.extractor_of", lambda *_: extractor)
    return Galleries()


def settled(served: Galleries) -> Gallery:
    """The first gallery, once nothing is being opened."""
    served.wait_until_open()
    return served.first()


def test_a_new_generation_is_opened_once_and_the_old_one_can_be_finished(
    served, store_path, photos, extractor
):
    old = served.first()
    assert served.first() is old and len(old.engine.store) == 12
    query = old.engine.prepare((GALLERY / "wine.jpg").read_bytes())
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    new = settled(served)
    assert new is not old and served.first() is new and len(new.engine.store) == 11
    # A visitor in the middle of a search still has the engine it began with.
    assert len(old.engine.search(query, rerank="diffusion", verify="sift").hits) == 12
    with pytest.raises(ValueError, match="renew"):
        new.engine.search(query)
    assert len(new.engine.search(new.engine.renew(query)).hits) == 11


def test_visitors_at_once_open_a_generation_once(served, store_path, monkeypatch):
    opened = []

    class Counted(Store):
        def __init__(self, *arguments):
            opened.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("serving.galleries.galleries.Store", Counted)
    with ThreadPoolExecutor(8) as pool:
        galleries = list(pool.map(lambda _: served.first(), range(8)))
    assert len(opened) == 1 and len({id(gallery) for gallery in galleries}) == 1


def test_everybody_goes_on_with_the_old_generation_while_the_new_one_is_opened(
    served, store_path, photos, extractor, monkeypatch
):
    """Nothing waits for the opening: not the page, not photos, not health."""
    old = served.first()
    version = old.engine.store.version
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    opening, may_open = threading.Event(), threading.Event()

    class Slow(Store):
        def __init__(self, *arguments):
            opening.set()
            assert may_open.wait(PATIENCE)
            super().__init__(*arguments)

    monkeypatch.setattr("serving.galleries.galleries.Store", Slow)
    served.start_opening()
    assert opening.wait(PATIENCE)
    # All on this one thread, which would wait for ever if anything waited.
    assert served.first() is old and list(served.by_name().values()) == [old]
    assert served.of_version(version) is old and list(served.opened().values()) == [old]
    hits = old.engine.search(old.engine.prepare(0), "diffusion", "sift").hits
    assert len(hits) == 11
    may_open.set()
    new = settled(served)
    assert len(new.engine.store) == 11
    assert served.of_version(version) is None
    assert served.of_version(new.engine.store.version) is new


def flip(path):
    """Change a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def verified():
    """Wait until nothing is being verified."""
    for thread in threading.enumerate():
        if thread.name == "verify gallery":
            thread.join(PATIENCE)


def test_a_damaged_generation_is_served_until_that_is_found(served, store_path, caplog):
    (path,) = store_path.glob("generations/*/diffusion_values.npy")
    flip(path)
    try:
        served.first()
    except NoGallery:
        pass  # it is found quickly
    verified()
    for _ in range(3):
        with pytest.raises(NoGallery):
            settled(served)
    assert path.name in caplog.text
    assert not served.opened()


def test_a_damaged_photo_is_served_no_longer(served, store_path, caplog):
    (path,) = (store_path / "segments").iterdir()
    flip(path)
    store = served.first().engine.store
    verified()
    assert settled(served).engine.store is store
    (id,) = store.damaged
    file = store.catalogue.photo(int(id)).file
    assert store.catalogue.find(file) is None
    hits = served.first().engine.search(served.first().engine.prepare(0 if id else 1)).hits
    assert len(hits) == 10 and file not in {hit.file for hit in hits}
    assert caplog.text.count(path.name) == 1


def test_damage_need_not_be_written_down(served, store_path, monkeypatch):
    """A server's store is often read-only. And neither readiness nor the start page needs the
    photo that is gone."""
    with Store(store_path) as store:
        blob = store.thumbnail(0)
    (path,) = (store_path / "segments").iterdir()
    data = path.read_bytes()
    path.write_bytes(data.replace(blob, blob[:-1] + b"x"))
    monkeypatch.setattr("index_store.storage.integrity.note_damage", lambda *_: None)
    verifications = []
    monkeypatch.setattr(
        "serving.galleries.galleries.verify", lambda store: verifications.append(0) or verify(store)
    )
    served.first()
    for _ in range(3):
        verified()
        served.start_opening()
    gallery = settled(served)
    assert len(verifications) == 1 and gallery.engine.store.damaged.tolist() == [0]
    assert not (store_path / "damaged").exists()
    assert finds_itself(gallery)
    assert gallery.samples and 0 not in {photo.id for photo in gallery.samples}


@pytest.mark.parametrize("damage", ["text", "bytes", "folder", "gone", "nonsense version"])
def test_a_pointer_that_is_damaged_leaves_the_last_generation(served, store_path, damage, caplog):
    gallery = served.first()
    pointer = store_path / "CURRENT"
    before = pointer.read_text()
    pointer.unlink()
    if damage == "text":
        pointer.write_text("damaged")
    elif damage == "bytes":
        pointer.write_bytes(b"\xff\xfe\x00")
    elif damage == "folder":
        pointer.mkdir()
    elif damage == "nonsense version":
        pointer.write_text(f"000001 {'0' * 64}\n")
    for _ in range(3):
        assert settled(served) is gallery
    said = [r for r in caplog.records if "still serving the previous generation" in r.message]
    assert len(said) == 1, "said once"
    if pointer.is_dir():
        pointer.rmdir()
    pointer.write_text(before)
    assert settled(served) is gallery


def test_a_generation_that_cannot_be_opened_is_tried_again_after_a_while(
    store_path, photos, extractor, monkeypatch
):
    now, attempts = [0.0], []
    monkeypatch.setattr("serving.galleries.galleries.extractor_of", lambda *_: extractor)
    live = ReloadingStore(store_path, lambda: now[0])
    old = live.gallery()
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)

    class Failing(Store):
        def __init__(self, *arguments):
            attempts.append(now[0])
            raise MemoryError("not even a sentence of ours")

    monkeypatch.setattr("serving.galleries.galleries.Store", Failing)
    for now[0] in (0.0, 1.0, 9.0, 10.5, 12.0):
        assert live.wait_until_open() is old
    assert attempts == [0.0, 10.5]
    monkeypatch.setattr("serving.galleries.galleries.Store", Store)
    now[0] = 30.0
    assert len(live.wait_until_open().engine.store) == 11


def test_a_model_file_that_is_gone_leaves_the_last_generation(
    served, store_path, photos, extractor, monkeypatch, tmp_path, caplog
):
    old = served.first()
    monkeypatch.setattr("serving.galleries.galleries.model_of", lambda *_: tmp_path / "gone.onnx")
    monkeypatch.setattr(
        "serving.galleries.galleries.extractor_of", lambda model, _: Extractor(model)
    )
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    failed = prometheus.NOT_OPENED._value.get()
    assert settled(served) is old
    assert prometheus.NOT_OPENED._value.get() == failed + 1
    assert "still serving the previous generation" in caplog.text and "gone.onnx" in caplog.text


def test_a_replaced_model_file_is_loaded_with_the_next_generation(
    store_path, photos, extractor, tmp_path, monkeypatch
):
    """docs/hosting.md: move the new model file over the old one, and build the store again."""
    model, chosen, other = tmp_path / "model.onnx", [], QuickExtractor()
    other.path = model
    shutil.copy(DEFAULT_MODEL, model)

    def choose(path, written):
        assert written == {"engine": "onnxruntime", "precision": "float32"}, "the store's own"
        chosen.append(path.read_bytes()[-64:])
        return (extractor if len(chosen) == 1 else other), "chosen"

    monkeypatch.setattr("serving.galleries.galleries.open_extractor", choose)
    monkeypatch.setattr("serving.galleries.galleries.model_of", lambda *_: model)
    live = ReloadingStore(store_path)
    assert live.gallery().engine.extractor is extractor
    same = extractor_of(model, live.gallery().engine.store.manifest.described_by)
    assert same is extractor and len(chosen) == 1, "the same file is loaded once"

    (tmp_path / "new.onnx").write_bytes(model.read_bytes()[:-1] + b"x")
    os.replace(tmp_path / "new.onnx", model)
    build(photos, store_path, QuickExtractor())
    gallery = live.wait_until_open()
    assert gallery.engine.extractor is other
    assert gallery.engine.store.manifest.dim == 48 and len(chosen) == 2 and chosen[0] != chosen[1]


def test_without_any_gallery_nobody_is_told_where_it_should_be(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "none"))
    served = Galleries()
    with pytest.raises(NoGallery) as error:
        served.first()
    assert str(tmp_path) not in str(error.value) and str(tmp_path) in caplog.text
    assert served.opened() == {} and served.of_version("x") is None


# -- pictures --------------------------------------------------------------------------------------


@pytest.fixture
def client(served, store_path, monkeypatch) -> TestClient:
    """The photo routes of the small store."""
    monkeypatch.setattr(routes, "galleries", lambda: served)
    settled(served)
    return TestClient(Starlette(routes=ROUTES))


def test_pictures_do_not_keep_a_deleted_generation(
    client, served, store_path, photos, extractor, monkeypatch
):
    store = served.first().engine.store
    assert client.get(view_url(store, 2)).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(Store, "pixels", None)  # calling it again would raise
        assert client.get(view_url(store, 2)).status_code == 200, "held ready"
    gone = weakref.ref(store)
    del store
    (photos / "dune.jpg").unlink()
    build(photos, store_path, extractor)
    assert len(settled(served).engine.store) == 11
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("instead", ["nothing", "a pipe", "another photo", "a folder"])
def test_an_original_that_is_no_photo_any_more_is_shown_as_it_was(client, served, photos, instead):
    store = served.first().engine.store
    id = store.catalogue.find("dune.jpg").id
    (photos / "dune.jpg").unlink()
    if instead == "a pipe":
        os.mkfifo(photos / "dune.jpg")
    elif instead == "another photo":
        (photos / "dune.jpg").write_bytes((photos / "wine.jpg").read_bytes())
    elif instead == "a folder":
        (photos / "dune.jpg").mkdir()
    answer = client.get(view_url(store, id))
    assert answer.status_code == 200 and answer.content == store.thumbnail(id)
    assert answer.headers["cache-control"] == "no-store"


def test_views_that_hang_keep_nothing_else_waiting(served, store_path, monkeypatch):
    """A disk that never answers: thumbnails, other views and health are there at once."""
    gallery = settled(served)
    store, never = gallery.engine.store, threading.Event()
    monkeypatch.setattr(routes, "galleries", lambda: served)
    monkeypatch.setattr(gallery, "view_jpeg", lambda id: never.wait() and b"")
    few = Pictures(workers=2, waiting=3)
    monkeypatch.setattr(routes, "pictures", lambda: few)
    app = Starlette(routes=[*ROUTES, *API_ROUTES])

    async def scenario():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            hanging = [asyncio.create_task(client.get(view_url(store, n))) for n in range(5)]
            for _ in range(20):
                await asyncio.sleep(0)
            sixth = await client.get(view_url(store, 7))
            assert sixth.content == store.thumbnail(7)
            assert sixth.headers["cache-control"] == "no-store"
            thumbnail = await client.get(thumbnail_url(store, 3))
            assert thumbnail.content == store.thumbnail(3)
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert not any(task.done() for task in hanging)
            never.set()
            assert {answer.status_code for answer in await asyncio.gather(*hanging)} == {200}
            again = await client.get(view_url(store, 7))
            assert again.content == b"", "and there are places again"

    asyncio.run(scenario())


# -- queries ---------------------------------------------------------------------------------------


def found(result) -> list[tuple]:
    return [(hit.file, hit.score, hit.probability, hit.inliers) for hit in result.hits]


def test_a_gallery_photo_is_prepared_and_verified_once_for_everybody(
    gallery, extractor, monkeypatch
):
    engine = Engine(gallery, extractor)
    shared = Gallery(engine)
    id = gallery.catalogue.find("colosseum.jpg").id
    first = shared.queries.prepare(id)
    assert engine.search_cached(first, "diffusion", "sift") is None, (
        "its points are not compared yet"
    )
    expected = engine.search(first, "diffusion", "sift")
    assert set(expected.timings_ms) == {"index", "details", "diffusion", "sift", "graph"}
    monkeypatch.setattr(engine, "prepare", None)  # calling it again would raise
    monkeypatch.setattr("search.verify.shortlist.match_all", None)
    second = shared.queries.prepare(id)
    answer = engine.search_cached(second, "diffusion", "sift")
    assert found(answer) == found(expected)
    assert set(answer.timings_ms) == {"diffusion", "graph"}
    assert set(answer.reused_ms) == {"index", "details", "sift"}


def test_few_gallery_queries_are_kept_the_last_asked_for(engine):
    queries = GalleryQueries(engine, max_queries=2)
    first = queries.prepare(0)
    queries.prepare(1)
    assert queries.prepare(0).verifications is first.verifications
    queries.prepare(2)
    assert len(queries) == 2
    assert queries.prepare(0).verifications is first.verifications
    assert queries.prepare(1).verifications is not first.verifications
    with pytest.raises(KeyError):
        queries.prepare(10**6)


def test_a_query_keeps_the_evidence_of_so_many_photos(engine, monkeypatch):
    monkeypatch.setattr("search.verify.shortlist.MAX_CACHED", 5)
    query = engine.prepare(0)
    expected = found(engine.search(engine.prepare(0), None, "sift", k=40))
    for _ in range(2):
        assert found(engine.search(query, None, "sift", k=40)) == expected
        assert len(query.verifications["sift"]) == 5
    for id in range(1, 9):
        engine.explain(query, id)
    assert list(query.verifications["sift"]) == [4, 5, 6, 7, 8]
    assert engine.has_evidence(query, 8) and not engine.has_evidence(query, 1)


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
        start.wait(timeout=PATIENCE)
        return answer(fresh, queries[name], way)

    with ThreadPoolExecutor(len(tasks)) as pool:
        assert list(pool.map(task, tasks)) == expected


def test_few_forms_of_index_are_kept_and_none_for_a_large_gallery(served, store_path, monkeypatch):
    gallery = served.first()
    assert gallery.index == "flat" == gallery.indexes[0]
    assert sorted(gallery.indexes) == sorted(PRESETS)
    assert gallery.built_for("flat") is gallery and gallery.built_for("ivf-pq") is None
    built = {form: gallery.build_for(form) for form in ("ivf-flat", "hnsw", "pq")}
    descriptor = gallery.engine.store.descriptors[3].astype(np.float32)
    exact, _ = exact_search(gallery.engine.store.descriptors, descriptor[None], 12)
    for form, other in built.items():
        assert other.index == form and other.engine.store.version == gallery.engine.store.version
        assert set(candidate_ids(other.engine.store.index, descriptor, 12)) == set(range(12))
    assert candidate_ids(built["ivf-flat"].engine.store.index, descriptor, 12).tolist() == [
        *exact[0]
    ]
    assert gallery.built_for("ivf-flat") is built["ivf-flat"]
    gallery.build_for("hnsw-pq")
    assert gallery.built_for("hnsw") is None and gallery.built_for("ivf-flat") is built["ivf-flat"]
    monkeypatch.setattr("serving.galleries.gallery.MAX_PHOTOS_TO_INDEX", 11)
    assert gallery.indexes == ["flat"]
