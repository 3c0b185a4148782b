"""The graph, the offline rows and the query's diffusion against dense references."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from index_store.graph.affinity import BACKGROUND, NEIGHBOURS, edges_of, neighbour_graph
from index_store.graph.matching_graph import EDGE, PROVEN, no_edge, no_edges
from index_store.graph.neighbours import exact_neighbours, self_first
from index_store.graph.offline_diffusion import diffusion_rows, solve_block, strongest, unconnected
from index_store.graph.partition import blocks, region
from index_store.storage.arrays import load_array, save_array
from search.ranking import Scale, scale
from search.rerank.diffusion import SEEDS, confidence, diffuse, lowered, seed_weights
from search.rerank.removal import Removal
from tests.conftest import unit_rows


def test_self_first_handles_duplicates_and_holes():
    ids = np.array([[1, 0, 2], [0, 2, -1], [2, 2, 1], [-1, -1, -1]], np.int32)
    sims = np.array([[1.0, 1.0, 0.5], [1.0, 0.4, 0], [1.0, 1.0, 0.4], [0, 0, 0]], np.float32)
    out_ids, out_sims = self_first(ids, sims)
    np.testing.assert_array_equal(out_ids, [[0, 1, 2], [1, 0, 2], [2, 1, -1], [3, -1, -1]])
    np.testing.assert_allclose(out_sims, [[1, 1, 0.5], [1, 1, 0.4], [1, 0.4, 0], [1, 0, 0]])


def plain_edges(rows: np.ndarray, neighbours: int, background: int) -> np.ndarray:
    """The weights of the graph's edges by their definition, dense."""
    sims = (rows @ rows.T).astype(np.float64)
    np.fill_diagonal(sims, -np.inf)
    order = np.argsort(-sims, axis=1, kind="stable")
    b = np.take_along_axis(sims, order, 1)[:, background - 1]
    near = np.zeros(sims.shape, bool)
    np.put_along_axis(near, order[:, :neighbours], True, 1)
    sims[np.isneginf(sims)] = 0
    return np.where(
        near & near.T, np.maximum(sims - b[:, None], 0) * np.maximum(sims - b[None], 0), 0
    )


def with_points(
    rows: np.ndarray, sims: np.ndarray, width: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """A matching graph of random pairs, and its weights by their definition, dense.

    Args:
        rows: descriptors, (N, D).
        sims: similarities of the neighbour lists, (N, k).
        width: edges per photo.
    """
    rng, count = np.random.default_rng(8), len(rows)
    edges, dense = np.full((count, width), no_edge()), np.zeros((count, count))
    background = sims[:, min(sims.shape[1] - 1, -(-count // 5))]
    for slot in range(width):
        for one, other in rng.permutation(count)[: count // 4 * 2].reshape(-1, 2).tolist():
            if dense[one, other] or other in edges["id"][one]:
                continue
            inliers = PROVEN if slot else PROVEN - 1
            edge = np.array((other, rows[one] @ rows[other], inliers, 4 * inliers, 0.25), EDGE)
            edges[one, slot] = edge
            if slot == 1:
                continue  # the other photo does not list it
            edge["id"] = one
            edges[other, slot] = edge
            if slot:
                above = float(edge["similarity"]) - min(background[one], background[other])
                by_points, by_likeness = -5 + 8.9 * 0.5 + 5.9 / 4, -3 + 13.5 * above
                odds = np.exp([by_points, by_likeness])
                dense[one, other] = dense[other, one] = 10 * (1 - (1 / (1 + odds)).prod()) ** 3
    assert (dense > 0).sum() > count / 2
    return edges, dense


@pytest.fixture(scope="module")
def walked():
    rows = unit_rows(np.random.default_rng(5), 160, 24, 12)
    rows[17] = rows[16]  # exact duplicates
    rows[18] = rows[16]
    ids, sims = exact_neighbours(rows, len(rows))
    edges, _ = with_points(rows, sims)
    return rows, neighbour_graph(ids, sims, edges, neighbours=8, background=30)


def test_graph_equals_its_definition(walked):
    rows, walk = walked
    dense = walk.toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert (np.diag(dense) == 0).all()
    distinct = np.delete(rows, [17, 18], 0)
    ids, sims = exact_neighbours(distinct, 158)
    edges, proven = with_points(distinct, sims)
    expected = normalised(plain_edges(distinct, 8, 30) + proven).toarray()
    found = neighbour_graph(ids, sims, edges, 8, 30).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    without = neighbour_graph(ids, sims, no_edges(158), 8, 30).toarray()
    expected = normalised(plain_edges(distinct, 8, 30)).toarray()
    np.testing.assert_allclose(without, expected, atol=1e-5)


def inverse(walk, alpha: float = 0.95) -> np.ndarray:
    """All rows of the whole graph, dense, float64."""
    return np.linalg.inv(np.eye(walk.shape[0]) - alpha * walk.toarray())


def rows_of(walk, kept: int | None = None, **options) -> tuple[np.ndarray, np.ndarray]:
    """What a store would hold, whole rows if `kept` is not given."""
    shape = (walk.shape[0], kept or walk.shape[0])
    row_ids, row_values = np.full(shape, -7, np.int32), np.full(shape, np.nan, np.float16)
    diffusion_rows(walk, row_ids, row_values, **options)
    return row_ids, row_values


def dense_rows(row_ids: np.ndarray, row_values: np.ndarray) -> np.ndarray:
    """Stored rows as a square matrix; what a store promises of their form is checked."""
    dense = np.zeros((len(row_ids), len(row_ids)))
    assert (row_ids[:, 0] == np.arange(len(row_ids))).all()
    for i, (ids, values) in enumerate(zip(row_ids, row_values)):
        used = int((ids >= 0).sum())
        assert (ids[:used] >= 0).all() and (ids[used:] == -1).all() and (values[used:] == 0).all()
        assert (
            len(set(ids[:used])) == used
            and (values[:used] > 0).all()
            and (np.diff(values[1:used]) <= 0).all()
        )
        dense[i, ids[:used]] = values[:used]
    return dense


def normalised(weights: np.ndarray) -> sparse.csr_array:
    """S from symmetric weights (N, N); photos without edges have empty rows."""
    degree = weights.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return sparse.csr_array(scale[:, None] * weights * scale[None])


def random_graph(rng, count: int, edges: int) -> sparse.csr_array:
    weights = np.zeros((count, count))
    a, b = rng.integers(count, size=(2, edges))
    weights[a, b] = rng.random(edges) + 0.05
    weights = np.maximum(weights, weights.T)
    np.fill_diagonal(weights, 0)
    return normalised(weights)


def ring(count: int) -> sparse.csr_array:
    """Equal weights all around."""
    weights = np.roll(np.eye(count), 1, axis=1)
    return normalised(weights + weights.T)


def pieces(rng) -> sparse.csr_array:
    """Three parts without edges between them, and 20 photos without any, numbered at random."""
    parts = [random_graph(rng, size, 3 * size).toarray() for size in (90, 40, 10)]
    whole = np.zeros((160, 160))
    start = 0
    for part in parts:
        whole[start : start + len(part), start : start + len(part)] = part
        start += len(part)
    order = rng.permutation(160)
    return sparse.csr_array(whole[np.ix_(order, order)])


KINDS = {
    "pieces": pieces,
    "sparse": lambda rng: random_graph(rng, 300, 350),
    "dense": lambda rng: random_graph(rng, 250, 6000),
    "ring of ties": lambda rng: ring(200),
    "complete": lambda rng: normalised(1 - np.eye(60)),
    "star": lambda rng: normalised(
        np.pad(np.ones((1, 99)), ((0, 99), (1, 0))) + np.pad(np.ones((99, 1)), ((1, 0), (0, 99)))
    ),
    "two": lambda rng: normalised(np.array([[0.0, 1], [1, 0]])),
    "one": lambda rng: sparse.csr_array((1, 1)),
    "no edges": lambda rng: sparse.csr_array((50, 50)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [16, 192])
def test_rows_equal_a_dense_inverse(rng, kind, block):
    """Regions that hold everything connected: rows of the whole graph, small values too."""
    walk = KINDS[kind](rng)
    found, exact = dense_rows(*rows_of(walk, block=block)), inverse(walk)
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-7)
    assert (found[exact < 1e-12] == 0).all()


def test_rows_of_a_gallery_with_duplicates_equal_a_dense_inverse(walked):
    _, walk = walked
    np.testing.assert_allclose(dense_rows(*rows_of(walk)), inverse(walk), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("count", [1, 7, 64, 90])
def test_block_equals_the_dense_inverse_of_its_region(rng, count):
    walk = random_graph(rng, 400, 900)
    ids = rng.permutation(400)[:90].astype(np.int32)
    exact = np.linalg.inv(np.eye(90) - 0.99 * walk.toarray()[np.ix_(ids, ids)])[90 - count :]
    np.testing.assert_allclose(solve_block(walk, ids, count, 0.99), exact, rtol=3e-5, atol=1e-12)


def test_photos_eliminated_at_once_have_no_edges_among_them(rng):
    system = sparse.eye_array(300, format="csr") - random_graph(rng, 300, 600)
    apart = unconnected(system, 200)
    assert 40 < len(apart) and apart.max() < 200
    assert (system[apart][:, apart].toarray() == np.eye(len(apart))).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5, 64])
def test_blocks_hold_every_photo_once(rng, kind, size):
    walk = KINDS[kind](rng)
    found = blocks(walk, size)
    assert max(map(len, found)) <= size
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(walk.shape[0]))
    assert len(found) <= max(1, 2 * walk.shape[0] / size)


def test_blocks_keep_what_belongs_together(rng):
    """Ten groups with strong edges inside and weak ones across come out as ten blocks."""
    group = rng.permutation(np.repeat(np.arange(10), 12))
    weights = np.where(group[:, None] == group[None], 1.0, 0.01) * (0.5 + rng.random((120, 120)))
    weights = np.triu(weights, 1)
    found = blocks(normalised(weights + weights.T), 12)
    assert sorted(sorted(group[block]) for block in found) == [[i] * 12 for i in range(10)]


def test_region_is_the_whole_component_if_it_fits(rng):
    walk = pieces(rng)
    part = sparse.csgraph.connected_components(walk)[1]
    for start in (np.array([3, 80], np.int32), np.array([120], np.int32)):
        ids = region(walk, start, 160, 0.95)
        np.testing.assert_array_equal(ids[-len(start) :], start)
        np.testing.assert_array_equal(np.sort(ids), np.flatnonzero(np.isin(part, part[start])))


def test_region_holds_what_its_block_visits_most():
    """A long ring: walks fade with the distance, so as much is taken on either side."""
    ids = region(ring(500), np.array([100, 101, 102], np.int32), 13, 0.95)
    np.testing.assert_array_equal(ids[-3:], [100, 101, 102])
    np.testing.assert_array_equal(np.sort(ids), np.arange(95, 108))


def test_truncated_rows_only_grow_towards_the_whole_ones(rng):
    """The theorem (M-matrix) that lets sums tell which of two truncations is closer.

    And how the sums of the whole rows are found.
    """
    walk = random_graph(rng, 300, 700)
    exact = inverse(walk)
    order = rng.permutation(300).astype(np.int32)
    before = np.zeros((5, 300))
    for size in (5, 20, 80, 200, 300):
        ids = np.concatenate([order[5:size], order[:5]]).astype(np.int32)
        found = np.zeros((5, 300))
        found[:, ids] = solve_block(walk, ids, 5)
        assert (found >= before * (1 - 1e-5)).all() and (
            found <= exact[order[:5]] * (1 + 1e-5)
        ).all()
        distance = np.abs(exact[order[:5]] - found).sum(1)
        np.testing.assert_allclose(distance, exact[order[:5]].sum(1) - found.sum(1), atol=1e-4)
        before = found
    np.testing.assert_allclose(before, exact[order[:5]], rtol=1e-4)
    np.testing.assert_allclose(
        exact.sum(1), np.linalg.solve(np.eye(300) - 0.95 * walk.toarray(), np.ones(300))
    )


def test_blocks_come_closer_than_rows_solved_alone_on_their_nearest():
    """The published truncation (a photo's nearest, here 60) against regions for 12 photos."""
    rows = unit_rows(np.random.default_rng(3), 800, 16, 80)
    ids, sims = exact_neighbours(rows, 60)
    walk = neighbour_graph(ids, sims, no_edges(800))
    exact = inverse(walk)
    system = np.eye(800) - 0.95 * walk.toarray()
    alone = np.array([np.linalg.inv(system[np.ix_(near, near)])[0].sum() for near in ids])
    together = np.zeros(800)
    for block in blocks(walk, 12):
        together[block] = solve_block(walk, region(walk, block, 120, 0.95), len(block)).sum(1)
    missing_alone, missing = exact.sum(1) - alone, exact.sum(1) - together
    assert missing.min() > -1e-3 and missing_alone.min() > -1e-6
    assert (missing <= missing_alone + 1e-3).mean() > 0.95
    assert missing.mean() < 0.8 * missing_alone.mean()


def test_rows_do_not_depend_on_the_order_of_photos(rng):
    walk = pieces(rng)
    order = rng.permutation(160)
    moved = dense_rows(*rows_of(sparse.csr_array(walk.toarray()[np.ix_(order, order)]), block=16))
    np.testing.assert_allclose(
        moved, dense_rows(*rows_of(walk, block=16))[np.ix_(order, order)], rtol=2e-3, atol=1e-7
    )


def test_rows_are_the_same_every_time_and_in_files(rng, tmp_path):
    walk = random_graph(rng, 700, 1500)
    first, second = (rows_of(walk, kept=30, block=32, size=150) for _ in range(2))
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
        save_array(tmp_path / "rows.npy", a)
        np.testing.assert_array_equal(a, np.load(tmp_path / "rows.npy"))
        mapped = load_array(tmp_path / "rows.npy", a.dtype, (700, None))
        np.testing.assert_array_equal(a, mapped)
        for dtype, shape in ((np.int8, (700, 30)), (a.dtype, (700, 31)), (a.dtype, (700,))):
            with pytest.raises(ValueError, match="rows.npy has shape"):
                load_array(tmp_path / "rows.npy", dtype, shape)
    dense_rows(*first)


def test_cut_keeps_the_largest_values(walked):
    _, walk = walked
    full_ids, full_values = rows_of(walk)
    cut_ids, cut_values = rows_of(walk, kept=12)
    np.testing.assert_array_equal(cut_ids, full_ids[:, :12])
    np.testing.assert_array_equal(cut_values, full_values[:, :12])


def test_the_photo_itself_stays_first_among_larger_values():
    """A hub is reached more often than a leaf returns to itself.

    Values below what float16 holds are left out.
    """
    ids, values = strongest(
        np.float32([[2.0, 0.5, 1.25, 1e-9], [3.0, 0, 1.5, 1.0]]), np.array([9, 7, 4, 5]), 4
    )
    np.testing.assert_array_equal(ids, [[4, 9, 7, -1], [5, 9, 4, -1]])
    np.testing.assert_array_equal(values, np.float16([[1.25, 2, 0.5, 0], [1, 3, 1.5, 0]]))


def test_progress_is_told_the_number_of_items_and_may_stop_the_work(rng):
    walk, seen = random_graph(rng, 400, 800), []

    def display(items, total):
        for number, item in enumerate(items, 1):
            seen.append((number, total))
            yield item

    rows_of(walk, block=40, progress=display)
    assert (
        seen == [(i, len(blocks(walk, 40))) for i in range(1, len(blocks(walk, 40)) + 1)]
        and len(seen) > 8
    )

    def stop(items, total):
        for item in items:
            raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        rows_of(walk, block=40, progress=stop)


def test_query_diffusion_is_the_weighted_sum_of_rows(walked):
    _, walk = walked
    dense = np.linalg.inv(np.eye(walk.shape[0]) - 0.95 * walk.toarray())
    row_ids, row_values = rows_of(walk)
    seeds, weights = np.array([3, 50, 16]), np.float32([0.5, 0.2, 0.1])
    found_ids, found = diffuse(row_ids[seeds], row_values[seeds], weights)
    expected = weights @ (dense / np.diag(dense)[:, None])[seeds]
    np.testing.assert_allclose(found, expected[found_ids], rtol=2e-3, atol=1e-4)
    assert np.delete(expected, found_ids).max(initial=0) < 1e-3


@pytest.fixture(scope="module")
def removable():
    """The parts of a store that a removal reads, and its edges' weights, dense."""
    rows = unit_rows(np.random.default_rng(6), 160, 24, 12)
    lists, list_sims = exact_neighbours(rows, 51)
    edges, proven = with_points(rows, list_sims)
    row_ids, row_values = rows_of(neighbour_graph(lists, list_sims, edges))
    store = SimpleNamespace(
        lists=lists,
        list_sims=list_sims,
        edges=edges,
        diffusion_ids=row_ids,
        diffusion_values=row_values,
    )
    return store, plain_edges(rows, NEIGHBOURS, BACKGROUND) + proven


def test_edges_of_a_few_photos_are_those_of_the_graph(removable):
    store, edges = removable
    photos = np.array([7, 90, 159])
    near, weights = edges_of(photos, store.lists, store.list_sims, store.edges)
    found = np.zeros((3, 160))
    np.add.at(found, (np.arange(3)[:, None], near), weights)
    np.testing.assert_allclose(found, edges[photos], atol=1e-4)


@pytest.mark.parametrize("gone", [[43], [14, 43, 90], [0, 1, 2, 3, 4]])
def test_a_query_in_the_gallery_is_taken_out_of_the_graph_exactly(removable, gone):
    """The update equals inverting the system of the other photos, with their degrees among them."""
    store, edges = removable
    near = [photo for photo in np.argsort(-edges[gone[0]])[:3] if photo not in gone]
    seeds = np.array([*near, 50, 41])
    weights = np.linspace(0.5, 0.1, len(seeds))
    rest = np.delete(np.arange(160), gone)
    expected = np.zeros(160)
    left = inverse(normalised(edges[np.ix_(rest, rest)]))
    expected[rest] = weights @ (left / np.diag(left)[:, None])[np.searchsorted(rest, seeds)]
    row_ids, row_values = store.diffusion_ids[seeds], store.diffusion_values[seeds]
    removal = Removal.of(np.array(gone), store)
    found_ids, found = diffuse(row_ids, row_values, weights, removal)
    np.testing.assert_allclose(found, expected[found_ids], rtol=1e-2, atol=5e-3)
    assert not np.isin(gone, found_ids).any()
    with_old_degrees = np.zeros(160)
    kept_out = dataclasses.replace(removal, lost=np.where(np.isinf(removal.lost), np.inf, 1e-9))
    ids, scores = diffuse(row_ids, row_values, weights, kept_out)
    with_old_degrees[ids] = scores
    assert np.abs(with_old_degrees - expected).max() > 0.02, "the degrees matter"


def test_a_photo_whose_only_neighbour_is_removed_walks_alone():
    lists = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]], np.int32)
    list_sims = np.float32([[1, 0.9, 0.1], [1, 0.9, 0.1], [1, 0.1, 0.1]])
    edges = no_edges(3)
    row_ids, row_values = rows_of(neighbour_graph(lists, list_sims, edges))
    store = SimpleNamespace(
        lists=lists,
        list_sims=list_sims,
        edges=edges,
        diffusion_ids=row_ids,
        diffusion_values=row_values,
    )
    removal = Removal.of(np.array([0]), store)
    assert removal.alone.tolist() == [1]
    ids, scores = diffuse(row_ids[[1, 2]], row_values[[1, 2]], np.array([0.9, 0.4]), removal)
    assert ids.tolist() == [1, 2] and scores.tolist() == [0.9, 0.4]


def test_seeds_must_be_reciprocal():
    ids = np.array([[0, 1, 2, 3, 4, 5, 6], [7, 0, 8, -1, -1, -1, -1], [9, -1, -1, -1, -1, -1, -1]])
    sims = np.array(
        [[1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 0.3, 0.2, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]],
        np.float32,
    )
    query = np.float32([0.55, 0.5, 0.1])
    np.testing.assert_allclose(seed_weights(query, ids, sims), [0.05, 0.3, 0.1], atol=1e-6)
    # Photo 0's reach is 0.5; overlooking its neighbour 3, it is 0.4.
    # Nearer ones than the query: no seed.
    np.testing.assert_allclose(seed_weights(query, ids, sims, exclude=[3])[0], 0.15, atol=1e-6)
    np.testing.assert_allclose(seed_weights(np.float32([0.45]), ids[:1], sims[:1]), [0])


def test_seeds_come_in_without_a_jump(rng):
    np.testing.assert_allclose(
        lowered(np.array([0.15, 0.5, 0, 0.4, 0.1, 0.3, 0.2])), [0, 0.3, 0, 0.2, 0, 0.1, 0]
    )
    few = np.array([0.5, 0.2, 0.1])
    np.testing.assert_array_equal(lowered(few), few)
    for _ in range(50):  # ties everywhere, broken at random
        weights = rng.choice([0.0, 0.1, 0.2, 0.3], 20)
        moved = weights + rng.uniform(0, 1e-6, 20)
        assert np.abs(lowered(moved) - lowered(weights)).max() <= 2e-6
        assert (lowered(moved) > 0).sum() <= SEEDS


def test_no_trusted_seed_means_no_diffusion():
    ids, values = np.array([[0, 1], [1, 0]]), np.array([[1.0, 0.5], [1.0, 0.5]])
    found, _ = diffuse(ids, values, np.zeros(2))
    assert len(found) == 0
    found, _ = diffuse(ids[:0], values[:0], np.zeros(0))
    assert len(found) == 0
    assert confidence(np.zeros(SEEDS), 0.1) == 0 and confidence(np.ones(SEEDS), 0.1) == 1


def test_scale_is_background_and_spread():
    found = scale(np.linspace(1, 0, 1001), 1001)  # the 50th
    assert found.background == pytest.approx(0.951) and found.spread == pytest.approx(0.049)
    assert found.rank == 50 and found.of(np.arange(100.0, 0, -1)) == (51, 49)
    found = scale(np.linspace(1, 0, 101), 101)  # of few, the best but a fifth
    assert found.background == pytest.approx(0.8) and found.spread == pytest.approx(0.2)
    assert scale(np.array([0.7]), 2) == Scale(pytest.approx(0.7), 1e-6, 1)
    assert scale(np.empty(0), 1) == Scale(0.0, 1.0, 1)
    assert found.of(np.empty(0)) == (0.0, 1.0)


@pytest.mark.parametrize("gallery", [400, 100_000])
@pytest.mark.parametrize("right", [0, 5, 80, 150])
def test_the_background_is_that_of_strangers_however_many_photos_are_right(rng, gallery, right):
    strangers = np.sort(rng.normal(0.2, 0.08, gallery))[::-1]
    of_strangers = scale(strangers[:1000], gallery).background
    assert of_strangers == strangers[49]
    found = scale(np.r_[np.linspace(0.95, 0.85, right), strangers][:1000], gallery)
    assert abs(found.background - of_strangers) < 0.23
    assert right == 0 or found.spread > 0.3


def test_two_right_photos_among_ten_are_not_their_own_background():
    found = scale(np.array([0.85, 0.81, 0.3, 0.28, 0.22, 0.2, 0.19, 0.15, 0.1]), 10)
    assert found.background < 0.52 and found.rank == 3 and found.spread > 0.33
    # A reranker's scores get their background from the first of the others as well.
    assert found.of(np.array([1.0, 0.9, 0.2, 0.1])) == (0.2, 0.8)
