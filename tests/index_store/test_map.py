"""The map of a gallery: where photos lie, what is kept of it, and what the page is told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import TSNE, trustworthiness
from starlette.applications import Starlette
from starlette.testclient import TestClient

from index_store import Store
from index_store.analysis.similarity_map import (
    PERPLEXITY,
    SimilarityMap,
    find_clusters,
    lay_out,
    make_map,
    medoids_of,
    path_of,
    principal_components,
    read_map,
    stored_map,
    write_map,
)
from serving.galleries.galleries import galleries
from serving.galleries.maps import maps, packed
from tests.conftest import unit_rows
from ui.routes import ROUTES


def test_photos_that_are_alike_lie_close_together(rng):
    rows = unit_rows(rng, 240, 32, clusters=4)
    positions = lay_out(rows)
    assert positions.shape == (240, 2) and positions.dtype == np.float32
    assert positions.min(0) == pytest.approx(0) and positions.max(0) == pytest.approx(1)
    np.testing.assert_array_equal(positions, lay_out(rows), "the same map each time")
    # scikit-learn by itself, without our graph of neighbours, keeps as many neighbours together.
    start = principal_components(rows)
    reference = TSNE(perplexity=PERPLEXITY, init=start, random_state=0).fit_transform(rows)
    found, expected, before = (
        trustworthiness(rows, places, n_neighbors=10) for places in (positions, reference, start)
    )
    assert found == pytest.approx(expected, abs=0.01) and expected > before + 0.04


@pytest.mark.parametrize("count", [1, 2, 7, 8, 12])
def test_a_gallery_of_few_photos_has_a_map(rng, count):
    made = make_map(unit_rows(rng, count, 16, 2).astype(np.float16))
    assert sorted(made.ids) == list(range(count)) and np.isfinite(made.positions).all()
    assert len(np.unique(made.positions, axis=0)) == count


def test_photos_that_are_all_the_same_have_a_map():
    made = make_map(np.tile(np.float16([[1, 0, 0]]), (60, 1)))
    assert np.isfinite(made.positions).all() and made.positions.min() >= 0


def test_crowds_and_their_faces():
    corners = np.array([[0.1, 0.1], [0.9, 0.9]])
    spread = np.random.default_rng(0).normal(size=(40, 2)) * 0.01
    positions = np.concatenate([corners[0] + spread[:15], corners[1] + spread[15:]])
    clusters = find_clusters(positions)
    assert set(clusters[15:][clusters[15:] >= 0]) == {0}, "the larger one is the first"
    assert set(clusters[:15][clusters[:15] >= 0]) == {1}
    rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0, 1], [0.6, -0.8]])
    cluster = np.array([0, 0, 0, 1, -1])
    means = [rows[:3].mean(0), rows[3]]
    expected = [int((rows[:3] @ means[0]).argmax()), 3]
    assert medoids_of(rows, cluster).tolist() == expected == [1, 3]


def a_map(count: int) -> SimilarityMap:
    ids = np.random.default_rng(0).permutation(count)
    positions = np.random.default_rng(1).random((count, 2)).astype(np.float32)
    clusters = np.array([0, 1, *(np.arange(count - 2) % 3 - 1)], np.int32)
    return SimilarityMap(ids, positions, clusters)


def test_a_map_is_kept_until_the_next_one(tmp_path):
    made, path = a_map(20), tmp_path / "maps" / "000002-0123456789ab.npy"
    write_map(tmp_path / "maps" / "000001-0123456789ab.npy", made)
    (tmp_path / "maps" / "mine.npy").write_bytes(b"not ours")
    write_map(path, made)
    assert {p.name for p in path.parent.iterdir()} == {path.name, "mine.npy"}
    read = read_map(path, 20)
    for name in ("ids", "positions", "clusters"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert read.medoids.tolist() == [0, 1]


@pytest.mark.parametrize(
    "row, column, value",
    [(3, 0, 20), (3, 0, -1), (3, 1, 1.5), (3, 2, np.nan), (0, 3, 1), (5, 3, -2)],
)
def test_a_map_that_is_none_is_not_believed(tmp_path, row, column, value):
    path = tmp_path / "maps" / "000001-0123456789ab.npy"
    write_map(path, a_map(20))
    table = np.load(path)
    table[row, column] = value
    np.save(path, table)
    with pytest.raises(ValueError):
        read_map(path, 20)
    with pytest.raises(ValueError):
        read_map(path, 21)


def test_a_damaged_map_is_made_again(small_built, monkeypatch):
    store = Store(small_built / "store")
    made = stored_map(store)
    path_of(store).write_bytes(b"damage")
    again = stored_map(store)
    np.testing.assert_array_equal(again.positions, made.positions)
    monkeypatch.setattr(
        "index_store.analysis.similarity_map.make_map", None
    )  # calling it would raise
    np.testing.assert_array_equal(stored_map(store).ids, made.ids)


def test_the_map_travels_as_bytes(gallery, gallery_path, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(gallery_path))
    galleries().wait_until_open()
    served = galleries().first()
    made = maps().of(served).result().map
    client = TestClient(Starlette(routes=ROUTES))
    answer = client.get(f"maps/{gallery.version}.bin")
    assert answer.content == packed(made) and "immutable" in answer.headers["cache-control"]
    ids = np.frombuffer(answer.content, "<u4", 310)
    x = np.frombuffer(answer.content, "<u2", 310, 4 * 310)
    assert sorted(ids) == list(range(310)) and len(answer.content) == 310 * 10
    np.testing.assert_allclose(x / 65535, made.positions[:, 0], atol=1e-4)
    photo = gallery.catalogue.find("louvre-2007-02-24-c.jpg")
    assert client.get(f"photos/{gallery.version}/{photo.id}/title.txt").text == "Louvre by night"
    for wrong in ("maps/0.bin", "photos/0/1/title.txt", f"photos/{gallery.version}/310/title.txt"):
        assert client.get(wrong).status_code == 404
