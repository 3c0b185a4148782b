"""Every form of index against flat search."""

from __future__ import annotations

import re

import numpy as np
import pytest

from index_store import Store, build, update
from index_store.__main__ import main
from index_store.ann import nearest, presets
from index_store.ann.faiss_index import FaissIndex
from index_store.ann.presets import PRESETS, choose_parameters
from index_store.graph import neighbours
from tests.conftest import QuickExtractor, unit_rows


@pytest.mark.parametrize("count", [1, 2, 38, 39, 310, 5_000, 100_000, 1_000_000])
def test_never_more_lists_or_codes_than_the_data_can_train(count):
    chosen = choose_parameters(count, 512)
    nlist, codes, bits = map(int, re.fullmatch(r"IVF(\d+),PQ(\d+)x(\d)np", chosen.factory).groups())
    trainable = max(1, count // 39)
    assert 1 <= nlist <= trainable and 1 <= bits <= 8
    assert 2**bits <= max(2, trainable)
    assert 512 % codes == 0 and 1 <= chosen.effort <= nlist


def test_large_galleries_get_full_codes():
    assert choose_parameters(1_000_000, 512).factory == "IVF2048,PQ64x8np"
    assert choose_parameters(310, 512).factory == "IVF4,PQ64x2np"
    assert choose_parameters(500, 7).factory == "IVF8,PQ1x3np"
    assert choose_parameters(1_000_000, 512, "ivf-pq4").factory == "IVF2048,PQ128x4fs"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_tiny_galleries_have_an_index(rng, tmp_path, preset, count):
    rows = unit_rows(rng, count, 32, 4)
    chosen = choose_parameters(count, 32, preset)
    nearest.build_index(rows, chosen).save(tmp_path / "index")
    index = nearest.load_index(tmp_path / "index", chosen, count, 32)
    assert sorted(nearest.candidate_ids(index, rows[0], 1000)) == list(range(count))


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return unit_rows(np.random.default_rng(7), 6_000, 64, 150)


@pytest.fixture(scope="module")
def queries(rows) -> np.ndarray:
    """Rows like those of the gallery, but none of them."""
    rng = np.random.default_rng(8)
    near = rows[rng.integers(len(rows), size=100)]
    moved = near + 0.03 * rng.normal(size=near.shape)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=PRESETS)
def index(request, rows) -> FaissIndex:
    return nearest.build_index(rows, choose_parameters(*rows.shape, request.param))


def best(rows: np.ndarray, query: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The ten ids of `among` nearest to a query, by the rows themselves."""
    return among[np.argsort(-(rows[among] @ query), kind="stable")][:10]


def test_shortlist_with_rescoring_equals_flat_search(index, rows, queries):
    """The best 10 come out as in flat search, from a shortlist much smaller than the gallery."""
    found = 0
    for query in queries:
        ids = nearest.candidate_ids(index, query, 300)
        assert len(ids) == len(set(ids)) and 250 <= len(ids) <= 300
        exact = best(rows, query, np.arange(len(rows)))
        found += len(np.intersect1d(exact, best(rows, query, ids)))
    assert found >= 0.95 * 1000


def test_forms_that_keep_vectors_report_their_distances(index, rows, queries):
    distances, ids = index.search(queries, 1)
    exact = ((rows[ids[:, 0]] - queries) ** 2).sum(1)
    if PRESETS[index.parameters.preset].exact:
        np.testing.assert_allclose(distances[:, 0], exact, atol=1e-5)
    else:
        assert np.abs(distances[:, 0] - exact).mean() > 1e-5


def test_compressed_forms_take_what_they_promise(index, rows):
    stats = index.stats()
    assert (stats.vectors, stats.removed, stats.dim) == (6_000, 0, 64)
    codes = {"flat": 256, "hnsw": 512, "hnsw-pq": 264, "hnsw-sq": 320, "ivf-flat": 264}
    centroids = 128 * 64 * 4 + 64 * 64 * 4 + 256 * 64 * 4 + 128 * 300
    at_most = codes.get(index.parameters.preset, 8 + 8 + 8)  # code, id, what RaBitQ adds
    assert 0.9 * (8 if at_most == 24 else at_most) < stats.bytes / 6_000
    assert stats.bytes / 6_000 < 1.25 * at_most + centroids / 6_000


def test_what_is_removed_is_never_found_and_others_keep_their_ids(index, rows, queries, tmp_path):
    changed = copy_of(index, tmp_path / "first")
    before = [nearest.candidate_ids(changed, query, 20) for query in queries]
    gone = np.unique(np.concatenate([ids[:10] for ids in before]))
    changed.remove(gone)
    changed = copy_of(changed, tmp_path / "second")
    assert changed.stats().removed == len(gone)
    for query, ids in zip(queries, before):
        distances, now = changed.search(query[None], 20)
        assert not np.isin(now, gone).any()
        assert np.all(now >= 0) and np.all(np.diff(distances[0]) >= 0)
        kept = ids[~np.isin(ids, gone)]
        assert np.isin(kept, now).mean() > 0.9
    assert index.stats().removed == 0
    with pytest.raises(IndexError):
        changed.remove(np.array([len(rows)]))


def test_what_is_added_later_is_found_under_the_next_ids(index, rows, queries, tmp_path):
    changed = copy_of(index, tmp_path / "index")
    changed.add(queries)
    found = [nearest.candidate_ids(changed, query, 30) for query in queries]
    hits = [len(rows) + i in ids for i, ids in enumerate(found)]
    assert np.mean(hits) >= 0.95
    assert changed.stats().vectors == len(rows) + len(queries)


def copy_of(index: FaissIndex, path) -> FaissIndex:
    """An index as it comes back from the disk."""
    index.save(path)
    return FaissIndex.load(path, index.parameters)


def test_everything_removed_leaves_nothing(rng):
    rows = unit_rows(rng, 50, 32, 4)
    index = nearest.build_index(rows, choose_parameters(50, 32))
    index.remove(np.arange(50))
    assert np.all(index.search(rows[:3], 7)[1] == np.full((3, 7), -1))


def test_damaged_index_files_are_noticed(rng, tmp_path):
    rows = unit_rows(rng, 400, 32, 8)
    chosen = choose_parameters(400, 32)
    nearest.build_index(rows, chosen).save(tmp_path / "index")
    with pytest.raises(ValueError, match="expected"):
        nearest.load_index(tmp_path / "index", chosen, 401, 32)
    data = (tmp_path / "index").read_bytes()
    for damaged in (b"", data[:5], data[:-8] + b"\xff" * 8, data[: len(data) // 2]):
        (tmp_path / "index").write_bytes(damaged)
        with pytest.raises((ValueError, RuntimeError)):
            nearest.load_index(tmp_path / "index", chosen, 400, 32)


def test_exact_neighbours_equal_numpy(rng):
    rows = unit_rows(rng, 300, 24, 10)
    ids, sims = neighbours.exact_neighbours(rows, 15)
    exact = np.sort(rows @ rows.T, axis=1)[:, ::-1][:, :15]
    np.testing.assert_allclose(sims, exact, atol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(rows @ rows.T, ids.astype(int), 1), exact, atol=1e-5
    )


def test_exact_search_in_blocks_equals_numpy(rng, monkeypatch):
    monkeypatch.setattr(nearest, "BATCH", 70)
    rows = unit_rows(rng, 300, 24, 10).astype(np.float16)
    queries = unit_rows(rng, 9, 24, 10)
    ids, sims = nearest.exact_search(rows, queries, 80)
    exact = queries @ rows.astype(np.float32).T
    np.testing.assert_allclose(sims, np.sort(exact, axis=1)[:, ::-1][:, :80], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, ids.astype(int), 1), sims, atol=1e-5)


def test_rescoring_sorts_proposals_by_the_descriptors(rng):
    rows = unit_rows(rng, 100, 24, 10)
    queries = unit_rows(rng, 5, 24, 10)
    proposed = np.stack([rng.permutation(100)[:20] for _ in queries])
    proposed[0, 3:] = -1
    ids, sims = nearest.rescore(rows, queries, proposed, 6)
    for query, offered, found, scores in list(zip(queries, proposed, ids, sims))[1:]:
        best_first = offered[np.argsort(-(rows[offered] @ query))]
        np.testing.assert_array_equal(found, best_first[:6])
        np.testing.assert_allclose(scores, rows[found] @ query, atol=1e-6)
    assert set(ids[0, :3]) == set(proposed[0, :3]) and np.all(ids[0, 3:] == -1)
    assert np.all(sims[0, 3:] == 0)


@pytest.fixture
def large(rng, monkeypatch) -> np.ndarray:
    """A gallery too large for comparing all with all, with two equal photos."""
    rows = unit_rows(rng, 5_000, 64, 200).astype(np.float16)
    rows[7] = rows[4_321]
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 4_999)
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 1_111)
    return rows


def test_large_galleries_find_nearly_all_exact_neighbours(large):
    told = []

    def progress(items, total):
        items = list(items)
        told.append((len(items), total))
        return items

    exact_ids, _ = neighbours.exact_neighbours(large, 21)
    ids, sims, recall = neighbours.nearest_photos(large, 21, progress)
    assert told == [(1, 1), (5, 5)]
    np.testing.assert_array_equal(ids[:, 0], np.arange(5_000))
    assert ids[7, 1] == 4_321 and ids[4_321, 1] == 7
    shared = [len(np.intersect1d(*pair)) for pair in zip(ids, exact_ids)]
    assert np.mean(shared) / 21 == pytest.approx(recall, abs=0.01) and 0.98 <= recall < 1
    exact = np.einsum("nd,nkd->nk", large.astype(np.float32), large[ids])
    np.testing.assert_allclose(sims[:, 1:], np.where(ids < 0, 0, exact)[:, 1:], atol=1e-5)
    assert (ids < 0).mean() < 0.001


def test_large_galleries_find_all_neighbours_if_all_are_asked_for(large, monkeypatch):
    monkeypatch.setattr(neighbours, "MIN_RECALL", 1.0)
    monkeypatch.setattr(neighbours, "RECALL_PHOTOS", 5_000)
    exact_ids, exact_sims = neighbours.exact_neighbours(large, 21)
    ids, sims, recall = neighbours.nearest_photos(large, 21)
    assert recall == 1.0
    np.testing.assert_allclose(sims, exact_sims, atol=1e-5)
    assert (ids == exact_ids).mean() > 0.999  # but for ties


def test_lists_end_where_the_visited_cells_hold_no_more(rng):
    rows = unit_rows(rng, 6, 8, 3)
    members = [np.array([0, 1]), np.array([], int), np.array([2, 3, 4, 5])]
    visits = np.array([[0, 1], [1, 0]])
    ids, sims = neighbours.search_cells(rows, rows[:2], visits, members, 3)
    np.testing.assert_array_equal(ids, [[0, 1, -1], [1, 0, -1]])
    np.testing.assert_allclose(sims[:, 0], 1, atol=1e-6)


def test_own_id_goes_first_and_no_id_comes_twice():
    ids = np.array([[5, 0, 5, 2, -1], [3, 3, 2, 4, 6], [1, 2, 3, 4, 5]], np.int32)
    sims = np.float32([[5, 4, 3, 2, 1]] * 3)
    own = np.array([0, 1, 9])
    found, values = neighbours.self_first(ids, sims, own)
    expected = [[0, 5, 2, -1, -1], [1, 3, 2, 4, 6], [9, 1, 2, 3, 4]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(values, [[1, 5, 2, 0, 0], [1, 5, 3, 2, 1], [1, 5, 4, 3, 2]])


def test_a_store_has_the_index_it_was_asked_for_and_keeps_it(photos, tmp_path, capsys):
    store = tmp_path / "store"
    build(photos, store, QuickExtractor())
    with Store(store) as first:
        assert first.manifest.parameters["ann"] == {
            "preset": "flat", "factory": "Flat", "effort": 0, "automatic": True
        }  # fmt: skip
    assert main(["info", "--store", str(store)]) == 0
    assert "flat: Flat, fewer than 10,000 photos" in capsys.readouterr().out
    build(photos, store, QuickExtractor(), index="hnsw")
    extractor = QuickExtractor()
    build(photos, store, extractor)
    assert extractor.described == 0
    with Store(store) as second:
        assert second.manifest.parameters["ann"] == {
            "preset": "hnsw", "factory": "HNSW32,Flat", "effort": 64, "automatic": False
        }  # fmt: skip
        query = np.asarray(second.descriptors[4], np.float32)
        assert nearest.candidate_ids(second.index, query, 3)[0] == 4
    assert main(["info", "--store", str(store)]) == 0
    assert "hnsw: HNSW32,Flat, efSearch 64" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["build", str(photos), "--store", str(store), "--index", "no-such"])


def test_a_gallery_that_grows_leaves_flat_search_if_nobody_chose_it(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "EXACT_BELOW", 12)
    """Small changes keep the form; at the next full derivation it follows the gallery's size."""
    later = tmp_path / "later"
    later.mkdir()
    for path in sorted(photos.iterdir())[6:]:
        path.rename(later / path.name)
    for name, index in (("chosen", "flat"), ("automatic", None)):
        build(photos, tmp_path / name, QuickExtractor(), index=index)
    for path in later.iterdir():
        path.rename(photos / path.name)
    for name, expected in (("chosen", "flat"), ("automatic", "ivf-pq")):
        manifest = update(tmp_path / name, QuickExtractor())
        assert manifest.photos == 12 and manifest.parameters["ann"]["preset"] == expected
        with Store(tmp_path / name) as store:
            query = np.asarray(store.descriptors[4], np.float32)
            assert 4 in nearest.candidate_ids(store.index, query, 12)
