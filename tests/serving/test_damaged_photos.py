"""A photo whose stored bytes are damaged costs itself, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from api.routes import ROUTES as API_ROUTES
from index_store import Store, StoreCorrupt
from index_store.analysis.similarity_map import stored_map
from search import Engine
from serving.explanation.diffusion_trace import trace_diffusion
from serving.galleries.galleries import galleries
from serving.galleries.maps import Maps, outliers, overview
from serving.galleries.queries import GalleryQueries
from serving.galleries.readiness import probe
from serving.galleries.samples import sample_queries
from tests.conftest import GALLERY, PATIENCE
from tests.index_store.test_integrity import contents, flip
from ui.routes import ROUTES


@pytest.fixture
def damaged_thumbnail(small):
    """A store in which the thumbnail of "taj-mahal-3.jpg" is damaged; nobody knows yet."""
    (path,) = (small / "segments").iterdir()
    flip(path, contents(small)["taj-mahal-3.jpg"][1])
    return small


@pytest.fixture
def damaged_keypoints(small):
    """Likewise, of the keypoints of "taj-mahal-2.jpg"."""
    (path,) = (small / "segments").iterdir()
    flip(path, contents(small)["taj-mahal-2.jpg"][2])
    return small


@pytest.fixture
def served(damaged_thumbnail, extractor, monkeypatch):
    """The gallery of that store; nothing verifies it."""
    monkeypatch.setattr("serving.galleries.galleries.extractor_of", lambda *_: extractor)
    monkeypatch.setattr("serving.galleries.galleries.verify", lambda store: None)
    monkeypatch.setenv("GEM_STORE", str(damaged_thumbnail))
    galleries().wait_until_open()
    return galleries().first()


def id_of(store: Store, file: str) -> int:
    """The id of a photo, damaged or not."""
    return next(photo.id for photo in store.catalogue.photos() if photo.file == file)


def test_reading_damaged_bytes_leaves_the_photo_out(damaged_thumbnail):
    with Store(damaged_thumbnail) as store:
        bad = id_of(store, "taj-mahal-3.jpg")
        everyone = np.arange(len(store))
        np.testing.assert_array_equal(store.served_ids, everyone)
        with pytest.raises(StoreCorrupt):
            store.thumbnail(bad)
        np.testing.assert_array_equal(store.served_ids, everyone[everyone != bad])
        assert store.damaged.tolist() == [bad] and store.catalogue.find("taj-mahal-3.jpg") is None


def test_the_whole_gallery_is_analysed_without_it(damaged_thumbnail, extractor):
    store = Store(damaged_thumbnail, extractor)
    bad, twin = id_of(store, "taj-mahal-3.jpg"), id_of(store, "taj-mahal.jpg")
    query = Engine(store, extractor).prepare(twin)  # before the damage is found
    assert bad in trace_diffusion(query, store, 12).seeds
    with pytest.raises(StoreCorrupt):
        store.thumbnail(bad)
    seen = overview(store)
    for ids in (
        seen.map.ids,
        seen.outliers,
        [photo.id for photo in sample_queries(store)],
        trace_diffusion(query, store, 12).seeds,
        trace_diffusion(query, store, 12).reached,
        [probe(store)],
    ):
        assert bad not in ids
    assert sorted(seen.map.ids) == store.served_ids.tolist()
    assert len(seen.map.medoids) == seen.map.clusters.max(initial=-1) + 1
    assert sorted(outliers(store, 100)) == store.served_ids.tolist()
    hits = Engine(store, extractor).search(query, "diffusion", "sift").hits
    assert len(hits) == 10 and bad not in [hit.id for hit in hits]


def test_a_map_without_damaged_photos_is_not_kept(damaged_thumbnail):
    with Store(damaged_thumbnail) as store:
        with pytest.raises(StoreCorrupt):
            store.thumbnail(id_of(store, "taj-mahal-3.jpg"))
        assert len(stored_map(store).ids) == 11
    with Store(damaged_thumbnail) as store:
        assert len(stored_map(store).ids) == 12


def test_outliers_are_measured_by_served_neighbours():
    class Neighbours:
        def __init__(self, ids, sims, damaged=()):
            self.neighbour_ids, self.neighbour_sims = np.int32(ids), np.float32(sims)
            self.damaged = np.array(damaged, np.int64)
            self.served_ids = np.setdiff1d(np.arange(len(ids)), self.damaged)

    ids = [[0, 2, 1], [1, 2, 0], [2, 0, 1]]
    sims = [[1, 0.9, 0.3], [1, 0.5, 0.3], [1, 0.9, 0.5]]
    assert outliers(Neighbours(ids, sims), 2) == [1, 0]
    assert outliers(Neighbours(ids, sims, damaged=[2]), 2) == [0, 1]
    assert outliers(Neighbours(ids[:1], sims[:1]), 2) == []


def test_damaged_keypoints_fail_no_search(damaged_keypoints, extractor):
    store = Store(damaged_keypoints, extractor)
    engine = Engine(store, extractor)
    bad = id_of(store, "taj-mahal-2.jpg")
    queries = GalleryQueries(engine, 5)
    queries.prepare(bad)
    query = engine.prepare((GALLERY / "taj-mahal.jpg").read_bytes())
    assert bad in query.candidates.ids
    found = [engine.search(query, "diffusion", "sift"), engine.search(query, None, "sift")]
    for result in found:
        assert len(result.hits) == 11 and bad not in [hit.id for hit in result.hits]
        assert result.hits[1].file == "taj-mahal-3.jpg" and result.hits[1].verified
    with pytest.raises(KeyError):
        queries.prepare(bad)


def test_a_query_whose_own_keypoints_are_damaged_is_read_from_its_file(
    damaged_keypoints, extractor
):
    store = Store(damaged_keypoints, extractor)
    engine = Engine(store, extractor)
    hits = engine.search(engine.prepare(id_of(store, "taj-mahal-2.jpg")), None, "sift").hits
    assert {hit.file for hit in hits[:2]} == {"taj-mahal.jpg", "taj-mahal-3.jpg"}
    assert hits[0].verified


def test_the_api_has_no_such_photo(served):
    client = TestClient(Starlette(routes=[*API_ROUTES, *ROUTES]), client=("9.9.9.9", 1))
    store = served.engine.store
    bad = id_of(store, "taj-mahal-3.jpg")
    addresses = [
        f"/photos/{store.version}/{bad}/thumbnail.jpg",  # the first one finds the damage
        f"/api/v1/photos/{bad}/thumbnail",
        f"/api/v1/photos/{bad}",
    ]
    for address in addresses:
        assert client.get(address).status_code == 404, address
    for address in addresses[1:]:
        assert client.get(address).headers["content-type"] == "application/problem+json"
    for path, ids in (("search", [bad]), ("match", [bad, (bad + 1) % 12])):
        answer = client.post(f"/api/v1/{path}", files=[("id", (None, str(id))) for id in ids])
        assert answer.status_code == 404, answer.text
        assert answer.json()["detail"] == "The gallery has no such photo."
    upload = io.BytesIO((GALLERY / "taj-mahal-3.jpg").read_bytes())
    hits = client.post("/api/v1/search", files={"photo": upload}).json()["hits"]
    assert bad not in [hit["id"] for hit in hits] and hits[0]["file"].startswith("taj-mahal")


def explore():
    from ui.pages.explore import render

    render()


def test_an_overview_that_failed_is_made_again(served, monkeypatch):
    calls = []

    def broken(store):
        calls.append(store)
        raise RuntimeError("broken")

    monkeypatch.setattr("serving.galleries.maps.overview", broken)
    made = Maps()
    monkeypatch.setattr("ui.pages.explore.maps", lambda: made)
    made.of(served).exception()
    app = AppTest.from_function(explore, default_timeout=PATIENCE).run()
    assert "is not available" in app.error[0].value and not app.exception and len(calls) == 1
    monkeypatch.setattr("serving.galleries.maps.overview", overview)
    made.of(served).result()
    app = AppTest.from_function(explore, default_timeout=PATIENCE).run()
    assert not app.error and not app.exception
