"""The global reranking methods against slow loops over their sources' equations, and within the
engine.
"""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from index_store import Store
from index_store.graph.affinity import edges_of
from index_store.graph.matching_graph import no_edges
from matching import verify_many
from search import RERANKERS, Engine
from search.__main__ import main
from search.query import PreparedQuery, QueryPhoto
from search.ranking import Ranking, Trusted, cosine, nearest, order, scale
from search.rerank import diffusion, expansion
from search.rerank.diffusion import SEEDS, lowered, seed_weights
from search.rerank.expansion import augment
from search.rerank.k_reciprocal import reciprocal_distance
from search.rerank.removal import values_at
from search.rerank.superglobal import superglobal_scores
from search.verify.matcher import Sift
from tests.conftest import GALLERY, unit_rows

WITHOUT_VERIFIED = [
    "dba",
    "k-reciprocal",
    "superglobal",
]  # methods that make nothing of verified photos


class ArrayStore:
    """What rerankers read of a store, exact: full neighbour lists, a flat index, diffusion rows of
    a dense inverse.
    """

    def __init__(self, rows: np.ndarray, walk: np.ndarray | None = None):
        count = len(rows)
        self.descriptors = rows.astype(np.float16)
        exact = self.descriptors.astype(np.float32)
        sims = np.einsum("id,jd->ij", exact, exact)
        self.lists = np.full((count, max(11, min(count, 51))), -1, np.int32)
        self.list_sims = np.zeros(self.lists.shape, np.float32)
        for i in range(count):
            near = neighbours_of(sims, i, 50)
            self.lists[i, : len(near)] = near
            self.list_sims[i, : len(near)] = sims[i, near]
        self.neighbour_ids, self.neighbour_sims = self.lists[:, :11], self.list_sims[:, :11]
        self.edges = no_edges(count)
        self.walk = normalised(self.weights()) if walk is None else walk
        self.inverse = np.linalg.inv(np.eye(count) - 0.95 * self.walk)
        self.diffusion_ids = np.stack(
            [[i, *np.delete(np.arange(count), i)] for i in range(count)]
        ).astype(np.int32)
        self.diffusion_values = np.take_along_axis(self.inverse, self.diffusion_ids, 1).astype(
            np.float16
        )
        self.damaged = np.empty(0, np.int64)
        self.index = faiss.IndexFlatIP(rows.shape[1])
        self.index.add(exact)
        self.manifest = SimpleNamespace(fingerprint="")

    def __len__(self) -> int:
        return len(self.descriptors)

    def weights(self) -> np.ndarray:
        """Weights of the graph's edges, dense, as test_diffusion defines them."""
        near, weights = edges_of(np.arange(len(self)), self.lists, self.list_sims, self.edges)
        dense = np.zeros((len(self), len(self) + 1))  # one more for the id -1
        np.put_along_axis(dense, np.where(near < 0, len(self), near), weights, 1)
        return dense[:, :-1]


def neighbours_of(sims: np.ndarray, i: int, k: int) -> list[int]:
    """i itself, then its k nearest; of equally near ones the first."""
    return sorted(range(len(sims)), key=lambda j: (j != i, -sims[i, j], j))[: k + 1]


def normalised(edges: np.ndarray) -> np.ndarray:
    """S of weights (N, N)."""
    root = np.sqrt(np.where(edges.sum(1) > 0, edges.sum(1), 1))
    return edges / root[:, None] / root[None]


def ask(
    store: ArrayStore,
    descriptor: np.ndarray,
    own_ids: tuple[int, ...] = (),
    copy_ids: tuple[int, ...] = (),
):
    """Query and first ranking as the engine prepares them; every photo is a candidate."""
    ids = np.delete(np.arange(len(store)), own_ids)
    similarity = cosine(descriptor, store.descriptors[ids])
    ranking = Ranking(ids, similarity, similarity).sorted()
    copies = np.array(copy_ids, np.int64)
    own_scale = scale(ranking.similarity[~np.isin(ranking.ids, copies)], len(store))
    photos = tuple(QueryPhoto(descriptor, id, f"{id}.jpg") for id in own_ids)
    photos += tuple(QueryPhoto(descriptor) for _ in copy_ids)
    query = PreparedQuery(
        photos or (QueryPhoto(descriptor),),
        None,
        descriptor,
        "model",
        "generation",
        ranking,
        copies,
        own_scale,
    )
    return query, ranking


def sign_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    """Unit vectors (count, 16) whose products are exact multiples of 1/8: ties everywhere, and no
    rounding.
    """
    return rng.choice(np.float32([-0.25, 0.25]), (count, 16))


def some_rows(kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    if kind == "ties":
        return sign_rows(rng, count)
    rows = unit_rows(rng, count, 24, 6)
    if kind == "duplicates":
        rows[1::3] = rows[: len(rows[1::3])]
    return rows.astype(np.float16).astype(np.float32)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((np.asarray(vector, float) ** 2).sum())


EVERY = pytest.mark.parametrize(
    ("kind", "count"), [(k, n) for k in ("clusters", "duplicates", "ties") for n in (2, 3, 8, 90)]
)


# -- each method and its equations -----------------------------------------------------------------


def slow_expansion(
    descriptor: np.ndarray, rows: np.ndarray, sims: np.ndarray, k: int
) -> np.ndarray:
    """L2(q + sum over the k nearest of sim ** 3 x_i), equally near ones in their order."""
    total = descriptor.astype(float)
    for i in sorted(range(len(rows)), key=lambda i: (-sims[i], i))[:k]:
        total = total + min(max(sims[i], 0.0), 1.0) ** 3 * rows[i].astype(float)
    return unit(total)


@EVERY
def test_alpha_query_expansion_is_its_equation(kind, count):
    rows = some_rows(kind, count)
    store, descriptor = ArrayStore(rows[1:]), rows[0]
    answer = RERANKERS["alpha-qe"](store).rerank(*ask(store, descriptor))
    expanded = slow_expansion(descriptor, rows[1:], rows[1:] @ descriptor, 10)
    assert sorted(answer.ids) == list(range(count - 1))
    np.testing.assert_allclose(
        answer.scores, np.clip(rows[1:] @ expanded, -1, 1)[answer.ids], atol=1e-5
    )
    np.testing.assert_allclose(
        answer.similarity, np.clip(rows[1:] @ descriptor, -1, 1)[answer.ids], atol=1e-5
    )
    assert (np.diff(answer.scores) <= 0).all()


def test_alpha_query_expansion_finds_photos_that_were_not_candidates():
    rows = some_rows("clusters", 90)
    store = ArrayStore(rows)
    query, current = ask(store, rows[0], own_ids=(0,))
    answer = RERANKERS["alpha-qe"](store).rerank(query, current[:12])
    whole = RERANKERS["alpha-qe"](store).rerank(query, current)
    assert sorted(answer.ids) == list(range(1, 90))
    np.testing.assert_array_equal(answer.ids, whole.ids)
    np.testing.assert_allclose(answer.similarity, rows[answer.ids] @ rows[0], atol=1e-5)


def test_verified_photos_take_the_place_of_the_nearest():
    """Chum et al. 2007: the mean of the query and the verified ones, which all weigh the same;
    itself is not one of them.
    """
    rows = some_rows("clusters", 40)
    store = ArrayStore(rows)
    method = RERANKERS["alpha-qe"](store)
    query, current = ask(store, rows[3], copy_ids=(3,))
    answer = method.rerank(
        query,
        method.rerank(query, current),
        Trusted(np.array([3, 20, 31]), np.array([0.9, 0.5, 0.8])),
    )
    others = np.delete(np.arange(40), 3)
    expected = rows @ unit(rows[3] + rows[20] + rows[31])
    assert answer.ids[0] == 3 and sorted(answer.ids[1:]) == list(others)
    np.testing.assert_array_equal(answer.ids[1:], others[order(expected[others])])


@EVERY
def test_augmented_descriptors_are_their_equation(kind, count, monkeypatch):
    monkeypatch.setattr(expansion, "BLOCK", 7)
    rows = some_rows(kind, count)
    store = ArrayStore(rows)
    method = RERANKERS["dba"](store)
    assert method.augmented.dtype == np.float16
    for i in range(count):
        others = np.delete(np.arange(count), i)
        expected = slow_expansion(rows[i], rows[others], rows[others] @ rows[i], 9)
        np.testing.assert_allclose(method.augmented[i].astype(float), expected, atol=5e-4)
    answer = method.rerank(*ask(store, rows[0], own_ids=(0,)))
    expected = (
        augment(store.descriptors, answer.ids, *lists(store, answer.ids), exclude=0).astype(float)
        @ rows[0]
    )
    np.testing.assert_allclose(answer.scores, np.clip(expected, -1, 1), atol=1e-5)


def lists(store: ArrayStore, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return store.neighbour_ids[ids], store.neighbour_sims[ids]


def test_unused_slots_and_left_out_photos_add_nothing():
    rows = np.eye(4, dtype=np.float32)
    near = np.array([[0, 2, -1, 1]]), np.float32([[1, 0.5, 0, 1]])
    np.testing.assert_allclose(
        augment(rows, np.array([0]), *near)[0], unit([1, 1, 0.125, 0]), atol=1e-3
    )
    np.testing.assert_allclose(
        augment(rows, np.array([0]), *near, exclude=1)[0], unit([1, 0, 0.125, 0]), atol=1e-3
    )


def slow_reciprocal_distance(
    rows: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> list[float]:
    """Zhong et al. 2017, equations 1 to 12, with sets; distances as in the authors' code."""
    sims = np.clip(rows.astype(float) @ rows.T.astype(float), -1, 1)
    count = len(rows)
    squared = [[0.0 if i == j else 2 - 2 * sims[i, j] for j in range(count)] for i in range(count)]
    d = [[value / (max(row) or 1.0) for value in row] for row in squared]
    reach = {k: [neighbours_of(sims, i, k) for i in range(count)] for k in (k1, k1 // 2)}

    def mutual(p: int, k: int) -> set[int]:  # (2)
        return {g for g in reach[k][p] if p in reach[k][g]}

    v = []
    for p in range(count):
        joined = set(mutual(p, k1))  # (3)
        for q in mutual(p, k1):
            half = mutual(q, k1 // 2)
            if len(mutual(p, k1) & half) >= 2 / 3 * len(half):
                joined |= half
        total = sum(np.exp(-d[p][g]) for g in joined)
        v.append([np.exp(-d[p][g]) / total if g in joined else 0.0 for g in range(count)])  # (7)
    mean = [
        [np.mean([v[i][g] for i in reach[k1][p][:k2]]) for g in range(count)] for p in range(count)
    ]  # (11)
    answer = []
    for g in range(1, count):
        smaller = sum(min(a, b) for a, b in zip(mean[0], mean[g]))
        larger = sum(max(a, b) for a, b in zip(mean[0], mean[g]))
        answer.append((1 - weight) * (1 - smaller / larger) + weight * d[0][g])  # (10), (12)
    return answer


@EVERY
def test_k_reciprocal_distance_is_its_equations(kind, count):
    rows = some_rows(kind, count)
    np.testing.assert_allclose(reciprocal_distance(rows), slow_reciprocal_distance(rows), atol=1e-5)
    store = ArrayStore(rows[1:])
    answer = RERANKERS["k-reciprocal"](store).rerank(*ask(store, rows[0]))
    by = order(rows[1:] @ rows[0])
    expected = slow_reciprocal_distance(np.concatenate([rows[:1], rows[1:][by]]))
    assert sorted(answer.ids) == list(range(count - 1)) and (np.diff(answer.scores) <= 0).all()
    np.testing.assert_allclose(
        answer.scores, [1 - expected[list(by).index(id)] for id in answer.ids], atol=1e-5
    )


def slow_superglobal(
    descriptor: np.ndarray, rows: np.ndarray, k: int = 9, beta: float = 0.15
) -> list[float]:
    sims = rows @ rows.T
    refined = []
    for i in range(len(rows)):
        total, weights = rows[i].astype(float), 1.0
        for j in neighbours_of(sims, i, k)[1:]:
            total = total + beta * max(sims[i, j], 0.0) * rows[j]
            weights += beta * max(sims[i, j], 0.0)
        refined.append(total / weights)
    first = [x @ descriptor for x in refined]
    best = sorted(range(len(rows)), key=lambda i: -first[i])[: k + 1]
    expanded = [max(refined[i][c] for i in best) for c in range(rows.shape[1])]
    return [(s + x @ expanded) / 2 for s, x in zip(first, refined)]


@pytest.mark.parametrize("kind", ["clusters", "duplicates"])
@pytest.mark.parametrize("count", [2, 3, 8, 90])
def test_superglobal_is_its_rule(kind, count):
    rows = some_rows(kind, count)
    expected = slow_superglobal(rows[0], rows[1:])
    np.testing.assert_allclose(superglobal_scores(rows[0], rows[1:]), expected, atol=1e-5)
    store = ArrayStore(rows[1:])
    answer = RERANKERS["superglobal"](store).rerank(*ask(store, rows[0]))
    assert sorted(answer.ids) == list(range(count - 1)) and (np.diff(answer.scores) <= 0).all()
    np.testing.assert_allclose(answer.scores, np.array(expected)[answer.ids], atol=1e-5)


def relative(store: ArrayStore) -> np.ndarray:
    """Each row of the inverse relative to its own value."""
    return store.inverse / np.diag(store.inverse)[:, None]


def test_diffusion_is_the_mix_of_similarity_and_the_walk_from_the_seeds():
    rows = some_rows("clusters", 90)
    store = ArrayStore(rows[1:])
    descriptor = unit(rows[np.argsort(-(rows @ rows[0]))[:8]].mean(0)).astype(np.float32)
    query, current = ask(store, descriptor)  # in the middle of a cluster: its photos are reciprocal
    method = RERANKERS["diffusion"](store)
    answer = method.rerank(query, current)
    weights = [
        max(0.0, float(similarity) - float(store.neighbour_sims[seed, 5]))
        for seed, similarity in zip(current.ids[:50], current.similarity[:50])
    ]
    next_one = sorted(weights)[-SEEDS - 1]
    walked, total = np.zeros(89), 0.0
    for seed, weight in zip(current.ids[:50], weights):
        walked += max(0.0, weight - next_one) * relative(store)[seed]
        total += max(0.0, weight - next_one)
    assert total > 0 and next_one > 0
    trust = min(1.0, total / query.scale.spread)
    expected = (
        (rows[1:] @ descriptor - query.scale.background) / query.scale.spread
        + 2 * trust * walked / walked.max()
    ) / 3
    np.testing.assert_allclose(answer.scores, expected[answer.ids], atol=2e-3)
    verified = method.rerank(query, answer, Trusted(np.array([40, 7]), np.array([0.55, 0.99])))
    walked = 0.55 * relative(store)[40] + 0.99 * relative(store)[7]
    expected = (
        (rows[1:] @ descriptor - query.scale.background) / query.scale.spread
        + 2 * walked / walked.max()
    ) / 3
    np.testing.assert_allclose(verified.scores, expected[verified.ids], atol=2e-3)


def test_diffusion_brings_in_the_photos_it_reaches_most(monkeypatch):
    rows = some_rows("clusters", 90)
    store = ArrayStore(rows[1:])
    query, current = ask(store, rows[0])
    seeds = current.ids[:5]
    weights = lowered(seed_weights(current.similarity[:5], *lists(store, seeds)))
    walked = weights @ relative(store)[seeds]
    beyond = np.setdiff1d(np.flatnonzero(walked > 1e-9), seeds)
    whole = RERANKERS["diffusion"](store).rerank(query, current[:5])
    assert set(whole.ids) == {*seeds, *beyond}
    np.testing.assert_allclose(whole.similarity, rows[1:][whole.ids] @ rows[0], atol=1e-5)
    monkeypatch.setattr(diffusion, "ADDED", 4)
    some = RERANKERS["diffusion"](store).rerank(query, current[:5])
    assert set(some.ids) == {*seeds, *beyond[order(walked[beyond])[:4]]}


def test_scores_are_looked_up_by_id():
    ids, scores = np.array([2, 5, 9]), np.array([0.5, 0.25, 1.0])
    np.testing.assert_array_equal(
        values_at(np.array([9, 0, 2, 7, -1, 99, 5]), ids, scores), [1, 0, 0.5, 0, 0, 0, 0.25]
    )


# -- the query's own photo is no evidence ----------------------------------------------------------


@pytest.mark.parametrize("gone", [4, 30, 77])
@pytest.mark.parametrize("name", RERANKERS)
def test_a_query_in_the_gallery_gets_the_answer_of_a_gallery_without_it(name, gone):
    """Known by its id, or an upload whose copy is there: the same scores; the copy comes first."""
    rows = some_rows("clusters", 90)
    rest = np.delete(np.arange(90), gone)
    whole = ArrayStore(rows)
    without = ArrayStore(rows[rest], normalised(whole.weights()[np.ix_(rest, rest)]))
    expected = RERANKERS[name](without).rerank(*ask(without, rows[gone]))
    # Diffusion rows are stored as float16; the others are exact to the rounding of float32.
    tolerance = 5e-3 if name == "diffusion" else 1e-5
    scores = dict(zip(rest[expected.ids], expected.scores))
    for options in ({"own_ids": (gone,)}, {"copy_ids": (gone,)}):
        answer = RERANKERS[name](whole).rerank(*ask(whole, rows[gone], **options))
        others = answer.ids[answer.ids != gone]
        assert sorted(others) == sorted(rest) and len(answer.ids) == len(others) + (
            "copy_ids" in options
        )
        found = answer.scores[answer.ids != gone]
        if "copy_ids" in options:
            assert answer.ids[0] == gone
            found = found + (expected.scores.max() - found.max())  # lowered together below the copy
        np.testing.assert_allclose(found, [scores[id] for id in others], atol=tolerance)


@pytest.mark.parametrize("name", RERANKERS)
def test_the_query_itself_would_change_the_answer(name):
    """What the test above excludes is not nothing: taken for any other photo, the copy moves the
    others' scores.
    """
    rows = some_rows("clusters", 90)
    store = ArrayStore(rows)
    method = RERANKERS[name](store)
    aware = method.rerank(*ask(store, rows[30], copy_ids=(30,)))
    unaware = method.rerank(*ask(store, rows[30]))
    gaps = [dict(zip(a.ids, a.scores - a.scores[a.ids != 30].max())) for a in (aware, unaware)]
    assert max(abs(gaps[0][id] - gaps[1][id]) for id in range(90) if id != 30) > 0.01


# -- what the methods share ------------------------------------------------------------------------


@pytest.mark.parametrize("name", RERANKERS)
def test_a_gallery_of_the_query_alone_has_no_hits(name):
    store = ArrayStore(some_rows("clusters", 1))
    assert (
        len(
            RERANKERS[name](store)
            .rerank(*ask(store, store.descriptors[0].astype(np.float32), own_ids=(0,)))
            .ids
        )
        == 0
    )


@pytest.mark.parametrize("name", RERANKERS)
def test_a_query_verified_by_its_own_copy_alone_keeps_its_answer(name):
    store = ArrayStore(some_rows("clusters", 30))
    query, current = ask(store, store.descriptors[3].astype(np.float32), copy_ids=(3,))
    assert (
        RERANKERS[name](store).rerank(query, current, Trusted(np.array([3]), np.array([0.9])))
        is current
    )


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_methods_that_make_nothing_of_verified_photos_keep_their_answer(name):
    rows = some_rows("clusters", 30)
    store = ArrayStore(rows)
    query, current = ask(store, rows[0], own_ids=(0,))
    assert (
        RERANKERS[name](store).rerank(query, current, Trusted(np.array([9]), np.array([0.9])))
        is current
    )


@pytest.mark.parametrize("name", ["k-reciprocal", "superglobal"])
def test_photos_beyond_the_shortlist_keep_their_order_below(name, monkeypatch):
    monkeypatch.setattr("search.rerank.shortlisted.REORDERED", 25)
    rows = some_rows("clusters", 60)
    store = ArrayStore(rows)
    query, current = ask(store, rows[0], copy_ids=(0,))
    answer = RERANKERS[name](store).rerank(query, current)
    head = RERANKERS[name](store).rerank(query, current[:26])
    np.testing.assert_array_equal(answer.ids, np.concatenate([head.ids, current.ids[26:]]))
    assert (np.diff(answer.scores) <= 0).all() and sorted(head.ids) != list(head.ids)
    np.testing.assert_allclose(answer.scores[:26], head.scores)


def test_nearest_puts_itself_first_and_keeps_ties_in_order():
    sims = np.array(
        [[1, 1, 0.5, 0.5], [1, 1, 0.5, 0.5], [0.5, 0.5, 1.0, 0.9], [0.5, 0.5, 0.9, 0.9]]
    )
    np.testing.assert_array_equal(nearest(sims, 2), [[0, 1, 2], [1, 0, 2], [2, 3, 0], [3, 2, 0]])
    assert nearest(sims, 9).shape == (4, 4) and sims[3, 3] == 0.9


def test_rankings_are_parted_and_joined():
    scores = np.array([0.9, 0.5, 0.4])
    ranking = Ranking(np.array([7, 3, 5]), scores, scores)
    alone, others = ranking.parted(np.array([3]))
    assert list(alone.ids) == [3] and list(others.ids) == [7, 5]
    joined = alone.followed_by(others)
    assert list(joined.ids) == [3, 7, 5]
    np.testing.assert_allclose(joined.scores, [0.5, 0.5, 0.0])
    nobody, everybody = ranking.parted(np.array([], int))
    assert len(nobody.ids) == 0
    for same in (everybody, nobody.followed_by(ranking), ranking.followed_by(nobody)):
        np.testing.assert_array_equal(same.scores, scores)
    np.testing.assert_array_equal(others.followed_by(alone).scores, [0.9, 0.4, 0.4])


def test_trusted_photos_can_be_left_out():
    trusted = Trusted(np.array([5, 6, 9]), np.array([0.6, 0.9, 0.7]))
    others = trusted.without(np.array([6, 9]))
    assert list(others.ids) == [5] and list(others.weights) == [0.6]
    assert list(trusted.without(np.array([], int)).ids) == [5, 6, 9]


# -- within the engine -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(small_built, extractor) -> Engine:
    return Engine(Store(small_built / "store", extractor), extractor)


@pytest.mark.parametrize("sift", [False, True])
@pytest.mark.parametrize("name", RERANKERS)
def test_every_method_goes_through_all_stages(small, name, sift):
    query = small.store.catalogue.find("taj-mahal.jpg").id
    upload = small.store.photo_path(query).read_bytes()
    for source, count in ((query, 11), (upload, 12)):
        result = small.search(small.prepare(source), name, "sift" if sift else None)
        hits = result.hits
        assert len(hits) == count == len({hit.id for hit in hits}) and [
            hit.score for hit in hits
        ] == sorted((hit.score for hit in hits), reverse=True)
        stages = {"descriptor", name, "sift"} if sift else {"descriptor", name}
        has_chains = sift or name == "diffusion"
        stages |= {"graph"} if has_chains else set()
        voted = {"details"} if sift else set()  # not every photo has votes
        assert all(set(hit.stage_ranks) - voted == stages for hit in hits)
        assert name in result.timings_ms
        assert ("diffusion" in result.timings_ms) == (name == "diffusion")
        last = "graph" if has_chains else name
        assert [hit.stage_ranks[last] for hit in hits] == list(range(1, count + 1))
    assert hits[0].file == "taj-mahal.jpg"


def test_methods_get_the_verified_photos_in_the_second_round(small, monkeypatch):
    rounds = []

    class Recorder:
        def __init__(self, store):
            pass

        def rerank(self, query, ranking, trusted=None):
            rounds.append((ranking, trusted))
            return ranking

    monkeypatch.setitem(RERANKERS, "recorder", Recorder)
    query = small.prepare(small.store.catalogue.find("colosseum.jpg").id)
    small.search(query, rerank="recorder")
    assert [trusted for _, trusted in rounds] == [None]
    hits = small.search(query, rerank="recorder", verify="sift").hits
    (_, nothing), (_, trusted) = rounds[1:]
    assert nothing is None and set(trusted.ids) <= {hit.id for hit in hits if hit.verified}
    assert (0.5 <= trusted.weights).all() and (trusted.weights <= 1).all()
    assert small.store.catalogue.find("colosseum-2.jpg").id in trusted.ids


def test_verifications_serve_every_method(small_built, extractor, monkeypatch):
    engine = Engine(Store(small_built / "store", extractor), extractor)
    monkeypatch.setattr(Sift, "shortlist", 4)
    calls = []

    def counted(query, hits, original=verify_many):
        calls.extend(hits)
        return original(query, hits)

    monkeypatch.setattr("search.verify.matcher.verify_many", counted)
    query = engine.prepare(0)
    for name in RERANKERS:
        hits = engine.search(query, rerank=name, verify="sift").hits
        assert sum(hit.inliers is not None for hit in hits) == 4
    assert 4 <= len(calls) == len(query.verifications["sift"]) <= 11


def test_a_method_is_made_when_first_asked_for_and_once(small_built, extractor, monkeypatch):
    made = []

    class Slow(RERANKERS["dba"]):
        def __init__(self, store):
            made.append(threading.current_thread().name)
            time.sleep(0.05)
            super().__init__(store)

    monkeypatch.setitem(RERANKERS, "dba", Slow)
    engine = Engine(Store(small_built / "store", extractor), extractor)
    query = engine.prepare(0)
    engine.search(query, rerank="diffusion")
    assert made == []
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(engine.search(query, rerank="dba").hits))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(answers) == 6 and all(answer == answers[0] for answer in answers)


def test_an_unknown_method_is_refused(small):
    with pytest.raises(ValueError, match="diffusion, alpha-qe, dba, k-reciprocal, superglobal"):
        small.search(small.prepare(0), rerank="magic")


def test_command_names_a_method(small_built, capsys):
    common = [str(GALLERY / "colosseum.jpg"), "--store", str(small_built / "store"), "--json"]
    answers = {}
    for options in (
        ["--diffusion"],
        ["--rerank", "diffusion"],
        ["--rerank", "superglobal", "--sift"],
    ):
        assert main([*common, *options]) == 0
        answers[" ".join(options)] = json.loads(capsys.readouterr().out)
    assert answers["--diffusion"]["hits"] == answers["--rerank diffusion"]["hits"]
    stages = answers["--rerank superglobal --sift"]["hits"][0]["stage_ranks"]
    assert list(stages) == ["descriptor", "details", "superglobal", "sift", "graph"]
    for wrong in (["--rerank", "magic"], ["--diffusion", "--rerank", "dba"]):
        with pytest.raises(SystemExit):
            main([*common, *wrong])
        capsys.readouterr()
