"""The index, the graph and the diffusion against exact references."""

from __future__ import annotations

import numpy as np
import pytest

from index_store import ann
from index_store.ann import choose_parameters
from index_store.diffusion import diffusion_row, diffusion_rows
from index_store.graph import neighbour_graph, self_first
from search.diffusion import SEEDS, confidence, diffuse, scale, seed_weights

from .conftest import unit_rows


@pytest.mark.parametrize("count", [1, 2, 38, 39, 310, 5_000, 100_000, 1_000_000])
def test_never_more_lists_or_codes_than_the_data_can_train(count):
    chosen = choose_parameters(count, 512)
    trainable = max(1, count // 39)
    assert 1 <= chosen.nlist <= trainable and 1 <= chosen.bits <= 8
    assert 2**chosen.bits <= max(2, trainable)
    assert 512 % chosen.codes == 0 and 1 <= chosen.nprobe <= chosen.nlist


def test_large_galleries_get_full_codes():
    assert choose_parameters(1_000_000, 512).factory == "IVF2048,PQ64x8np"
    assert choose_parameters(310, 512).factory == "IVF4,PQ64x2np"
    assert choose_parameters(500, 7).codes == 1


@pytest.mark.parametrize("count", [1, 3, 50])
def test_tiny_galleries_have_an_index(rng, tmp_path, count):
    rows = unit_rows(rng, count, 32, 4)
    chosen = choose_parameters(count, 32)
    ann.save_index(ann.build_index(rows, chosen), tmp_path / "index")
    index = ann.load_index(tmp_path / "index", chosen, count, 32)
    assert sorted(ann.shortlist(index, rows[0], 1000)) == list(range(count))


def test_shortlist_with_rescoring_equals_flat_search(rng):
    """Shortlist much smaller than the gallery, lists only probed in part: the best 10 still come out as in flat search."""
    rows = unit_rows(rng, 12_000, 64, 300)
    queries = unit_rows(np.random.default_rng(8), 0, 64, 1)
    queries = rows[rng.integers(len(rows), size=100)] + 0.03 * rng.normal(size=(100, 64)).astype(np.float32)
    chosen = choose_parameters(*rows.shape)
    assert chosen.nprobe < chosen.nlist
    index = ann.build_index(rows, chosen)
    found = 0
    for query in queries:
        exact = np.argsort(-(rows @ query))[:10]
        ids = ann.shortlist(index, query, 500)
        assert len(ids) == 500 == len(set(ids))
        rescored = ids[np.argsort(-(rows[ids] @ query))][:10]
        found += len(np.intersect1d(exact, rescored))
    assert found >= 0.97 * 1000


def test_damaged_index_parameters_are_noticed(rng, tmp_path):
    rows = unit_rows(rng, 400, 32, 8)
    chosen = choose_parameters(400, 32)
    ann.save_index(ann.build_index(rows, chosen), tmp_path / "index")
    with pytest.raises(ValueError, match="expected"):
        ann.load_index(tmp_path / "index", chosen, 401, 32)


def test_exact_knn_equals_numpy(rng):
    rows = unit_rows(rng, 300, 24, 10)
    ids, sims = ann.exact_knn(rows, 15, batch=64)
    exact = np.sort(rows @ rows.T, axis=1)[:, ::-1][:, :15]
    np.testing.assert_allclose(sims, exact, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(rows @ rows.T, ids.astype(int), 1), exact, atol=1e-5)


def test_self_first_handles_duplicates_and_holes():
    ids = np.array([[1, 0, 2], [0, 2, -1], [2, 2, 1], [-1, -1, -1]], np.int32)
    sims = np.array([[1.0, 1.0, 0.5], [1.0, 0.4, 0], [1.0, 1.0, 0.4], [0, 0, 0]], np.float32)
    out_ids, out_sims = self_first(ids, sims)
    np.testing.assert_array_equal(out_ids, [[0, 1, 2], [1, 0, 2], [2, 1, -1], [3, -1, -1]])
    np.testing.assert_allclose(out_sims, [[1, 1, 0.5], [1, 1, 0.4], [1, 0.4, 0], [1, 0, 0]])


def plain_graph(rows: np.ndarray, neighbours: int, background: int) -> np.ndarray:
    """The graph by its definition, dense."""
    sims = (rows @ rows.T).astype(np.float64)
    np.fill_diagonal(sims, -np.inf)
    order = np.argsort(-sims, axis=1, kind="stable")
    b = np.take_along_axis(sims, order, 1)[:, background - 1]
    near = np.zeros(sims.shape, bool)
    np.put_along_axis(near, order[:, :neighbours], True, 1)
    a = np.where(near & near.T, np.maximum(sims - b[:, None], 0) * np.maximum(sims - b[None], 0), 0)
    scale = np.sqrt(np.where(a.sum(1) > 0, a.sum(1), 1))
    return a / scale[:, None] / scale[None]


@pytest.fixture(scope="module")
def walked():
    rows = unit_rows(np.random.default_rng(5), 160, 24, 12)
    rows[17] = rows[16]  # exact duplicates
    rows[18] = rows[16]
    ids, sims = self_first(*ann.exact_knn(rows, len(rows)))
    return rows, ids, neighbour_graph(ids, sims, neighbours=8, background=30)


def test_graph_equals_its_definition(walked):
    rows, _, walk = walked
    dense = walk.toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert (np.diag(dense) == 0).all()
    expected = plain_graph(np.delete(rows, [17, 18], 0), 8, 30)
    ids, sims = self_first(*ann.exact_knn(np.delete(rows, [17, 18], 0), 158))
    np.testing.assert_allclose(neighbour_graph(ids, sims, 8, 30).toarray(), expected, atol=1e-5)


def test_diffusion_rows_equal_a_dense_solve(walked):
    _, ids, walk = walked
    dense = np.linalg.inv(np.eye(len(ids)) - 0.95 * walk.toarray())
    row_ids, row_values = diffusion_rows(walk, ids, alpha=0.95, kept=len(ids))
    assert (row_ids[:, 0] == np.arange(len(ids))).all()
    rebuilt = np.zeros_like(dense)
    for i, (row, values) in enumerate(zip(row_ids, row_values)):
        assert len(set(row[row >= 0])) == (row >= 0).sum()
        rebuilt[i, row[row >= 0]] = values[row >= 0]
    np.testing.assert_allclose(rebuilt, dense, rtol=1e-3, atol=1e-4)


def test_truncated_row_equals_the_dense_solve_of_its_neighbourhood(walked):
    _, ids, walk = walked
    for i in (0, 16, 17, 99):
        near = ids[i, :40]
        local = np.eye(40) - 0.95 * walk.toarray()[np.ix_(near, near)]
        np.testing.assert_allclose(diffusion_row(walk, near, 0.95), np.linalg.inv(local)[0], rtol=1e-5, atol=1e-7)


def test_photo_without_edges_keeps_its_walk(rng):
    ids = np.array([[0, -1], [1, -1]], np.int32)
    walk = neighbour_graph(ids, np.array([[1, 0], [1, 0]], np.float32))
    row_ids, row_values = diffusion_rows(walk, ids)
    np.testing.assert_array_equal(row_ids, ids)
    np.testing.assert_array_equal(row_values, [[1, 0], [1, 0]])


def test_cut_keeps_the_largest_values(walked):
    _, ids, walk = walked
    full_ids, full_values = diffusion_rows(walk, ids, kept=len(ids))
    cut_ids, cut_values = diffusion_rows(walk, ids, kept=12)
    np.testing.assert_array_equal(cut_ids, full_ids[:, :12])
    np.testing.assert_array_equal(cut_values, full_values[:, :12])


def test_query_diffusion_is_the_weighted_sum_of_rows(walked):
    _, ids, walk = walked
    dense = np.linalg.inv(np.eye(len(ids)) - 0.95 * walk.toarray())
    row_ids, row_values = diffusion_rows(walk, ids, kept=len(ids))
    seeds, weights = np.array([3, 50, 16]), np.float32([0.5, 0.2, 0.1])
    found_ids, found = diffuse(row_ids[seeds], row_values[seeds], weights)
    expected = weights @ dense[seeds]
    np.testing.assert_allclose(found, expected[found_ids], rtol=2e-3, atol=1e-4)
    assert np.delete(expected, found_ids).max(initial=0) < 1e-3


def test_query_in_the_gallery_is_taken_out_of_the_graph_exactly(walked):
    """The rank-one update equals inverting the system without that photo's row and column."""
    _, ids, walk = walked
    row_ids, row_values = diffusion_rows(walk, ids, kept=len(ids))
    gone, seeds, weights = 40, np.array([3, 50, 41]), np.float32([0.5, 0.2, 0.1])
    rest = np.delete(np.arange(len(ids)), gone)
    system = np.eye(len(rest)) - 0.95 * walk.toarray()[np.ix_(rest, rest)]
    expected = np.zeros(len(ids))
    expected[rest] = weights @ np.linalg.inv(system)[np.searchsorted(rest, seeds)]
    found_ids, found = diffuse(row_ids[seeds], row_values[seeds], weights, (row_ids[gone], row_values[gone]))
    np.testing.assert_allclose(found, expected[found_ids], rtol=5e-3, atol=2e-3)
    assert gone not in found_ids


def test_seeds_must_be_reciprocal():
    ids = np.array([[0, 1, 2, 3, 4, 5, 6], [7, 0, 8, -1, -1, -1, -1], [9, -1, -1, -1, -1, -1, -1]])
    sims = np.array([[1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 0.3, 0.2, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]], np.float32)
    query = np.float32([0.55, 0.5, 0.1])
    np.testing.assert_allclose(seed_weights(query, ids, sims), [0.05, 0.3, 0.1], atol=1e-6)
    # Photo 0's reach is 0.5; overlooking its neighbour 3, it is 0.4. Nearer ones than the query: no seed.
    np.testing.assert_allclose(seed_weights(query, ids, sims, exclude=3)[0], 0.15, atol=1e-6)
    np.testing.assert_allclose(seed_weights(np.float32([0.45]), ids[:1], sims[:1]), [0])


def test_no_trusted_seed_means_no_diffusion():
    ids, values = np.array([[0, 1], [1, 0]]), np.array([[1.0, 0.5], [1.0, 0.5]])
    found, _ = diffuse(ids, values, np.zeros(2))
    assert len(found) == 0
    found, _ = diffuse(ids[:0], values[:0], np.zeros(0))
    assert len(found) == 0
    assert confidence(np.zeros(SEEDS), 0.1) == 0 and confidence(np.ones(SEEDS), 0.1) == 1


def test_scale_is_background_and_spread():
    background, spread = scale(np.linspace(1, 0, 101))
    assert background == pytest.approx(0.51) and spread == pytest.approx(0.49)
    assert scale(np.array([0.7])) == (pytest.approx(0.7), 1e-6)
    assert scale(np.empty(0)) == (0.0, 1.0)
