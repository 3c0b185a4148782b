"""Chains of evidence, against a search of all paths and by hand."""

from itertools import permutations

import numpy as np
import pytest

from index_store.graph.matching_graph import EDGE
from search.ranking import Ranking
from search.stages.chains import MIN_WORTH, STEPS, Chains, chained, follow_chains

COUNT = 9
TRUST = 0.4


def graph_of(worth: np.ndarray) -> np.ndarray:
    """EDGE (n, n - 1) whose "similarity" is the worth of each edge, float (n, n); 0 for none."""
    count = len(worth)
    edges = np.zeros((count, count - 1), EDGE)
    edges["id"] = -1
    for one in range(count):
        others = np.flatnonzero(worth[one])
        edges["id"][one, : len(others)] = others
        edges["similarity"][one, : len(others)] = worth[one, others]
    return edges


def as_told(ids: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return edges["similarity"].astype(float)


def best_of_all_paths(
    starts: dict[int, float], worth: np.ndarray, excluded: set[int]
) -> np.ndarray:
    """The best chain to each photo, by trying all paths without a circle."""
    best = np.zeros(len(worth))
    photos = [id for id in range(len(worth)) if id not in excluded]
    for length in range(2, STEPS + 2):
        for path in permutations(photos, length):
            value = starts.get(path[0], 0.0)
            for one, other in zip(path, path[1:]):
                value *= worth[one, other]
            best[path[-1]] = max(best[path[-1]], value)
    return np.where(best >= MIN_WORTH, best, 0)


@pytest.mark.parametrize("seed", range(20))
def test_chains_are_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    worth = np.float16(rng.random((COUNT, COUNT)) * (rng.random((COUNT, COUNT)) < 0.3))
    worth = np.maximum(worth, worth.T).astype(float)
    np.fill_diagonal(worth, 0)
    starts = {1: 0.9, 4: 0.3, 6: 0.05}
    chains = follow_chains(
        np.array(list(starts)), np.array(list(starts.values())), graph_of(worth), as_told,
        np.array([0, 8]),
    )  # fmt: skip
    expected = best_of_all_paths(starts, worth, {0, 8})
    found, others = chains.of(np.arange(COUNT)), np.setdiff1d(np.arange(COUNT), list(starts))
    np.testing.assert_allclose(found[others], expected[others], rtol=1e-12)
    assert (found <= expected * (1 + 1e-12)).all()  # the best way back to a start may be passed by
    for id, links in chains.links.items():
        value = starts[links[0]]
        for one, other in zip(links, [*links[1:], id]):
            value *= worth[one, other]
        assert value == pytest.approx(found[id]) and len(set(links)) == len(links) <= STEPS
        assert id not in links


def test_damaged_edges_lead_nowhere():
    edges = graph_of(np.array([[0, 1.0], [1.0, 0]]))
    for id in (-5, 2, 2**31 - 1):
        edges["id"][0, 0] = id
        assert not len(follow_chains(np.array([0]), np.ones(1), edges, as_told, np.empty(0)).ids)


class Described:
    """A store of which only descriptors are asked."""

    descriptors = np.eye(5, dtype=np.float16)


def test_chains_raise_photos_and_add_others():
    ids, odds = np.array([3, 1, 0]), np.array([2.0, 0.0, -3.0])
    own = 1 / (1 + np.exp(-odds))
    ranking = Ranking(ids, np.zeros(3, np.float32), odds, None, own)
    chains = Chains(np.array([0, 1, 4]), np.array([0.8, 0.01, 0.5]))
    query = np.eye(5, dtype=np.float32)[4]
    raised, led = chained(ranking, chains, TRUST, query, Described())
    expected = {
        3: own[0],
        1: 1 - (1 - own[1]) * (1 - TRUST * 0.01),
        0: 1 - (1 - own[2]) * (1 - TRUST * 0.8),
        4: TRUST * 0.5,
    }
    assert raised.ids.tolist() == sorted(expected, key=expected.get, reverse=True)
    np.testing.assert_allclose(raised.probability, [expected[id] for id in raised.ids.tolist()])
    odds_of = np.log(raised.probability / (1 - raised.probability))
    np.testing.assert_allclose(raised.scores, odds_of)
    assert sorted(led.tolist()) == [0, 4]
    assert raised.similarity[raised.ids == 4] == 1


def test_no_photo_is_lowered_and_certainty_stays_finite():
    ids, odds = np.arange(4), np.array([60.0, 5.0, -60.0, -800.0])
    ranking = Ranking(ids, np.zeros(4, np.float32), odds, None, 1 / (1 + np.exp(-odds)))
    nothing = Chains(np.empty(0, np.int64), np.empty(0))
    same, led = chained(ranking, nothing, TRUST, np.zeros(5, np.float32), Described())
    assert same.ids.tolist() == [0, 1, 2, 3] and not len(led)
    assert np.isfinite(same.scores).all()
    np.testing.assert_allclose(same.scores[1:3], odds[1:3], rtol=1e-9)
