"""Contradictions in the matching graph, against a dense matrix and by hand."""

import numpy as np
import pytest

from search.fusion.log_odds import probability
from search.ranking import Ranking
from search.stages.contradiction import contradictions
from search.stages.graph import CONTRADICTION, SHIFT, TRUST, MatchingGraph

from .test_chains import as_told, graph_of

COUNT = 12


@pytest.mark.parametrize("seed", range(20))
def test_the_strongest_contradiction_of_a_dense_matrix(seed):
    rng = np.random.default_rng(seed)
    worth = np.float16(rng.random((COUNT, COUNT)) * (rng.random((COUNT, COUNT)) < 0.4))
    worth = np.maximum(worth, worth.T).astype(float)
    np.fill_diagonal(worth, 0)
    ids = rng.permutation(COUNT)[:8]
    own, excluded = rng.random(8), np.array([ids[2], 11])
    expected = worth.copy()
    expected[:, excluded] = 0
    dense = np.zeros(COUNT)
    dense[ids] = own
    expected = (expected * (1 - dense)).max(1)[ids]
    found = contradictions(ids, own, graph_of(worth), as_told, excluded)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_match_contradicts_nothing():
    ids, own = np.array([3, 1]), np.array([0.5, 0.1])
    alone = graph_of(np.zeros((4, 4)))
    assert contradictions(ids, own, alone, as_told, np.empty(0)).tolist() == [0, 0]
    damaged = graph_of(np.array([[0, 1.0], [1.0, 0]]))
    damaged["id"][0, 0] = 9
    assert contradictions(np.array([0]), own[:1], damaged, as_told, np.empty(0)).tolist() == [0]


class Compared:
    """A store of three photos, of which the graph needs only edges and descriptors."""

    edges = graph_of(np.array([[0, 0, 0], [0, 0, 0.9], [0, 0.9, 0]]))
    descriptors = np.eye(3, dtype=np.float16)


def test_a_photo_that_matches_strangers_falls_behind_one_that_matches_none():
    graph = MatchingGraph(Compared(), None)
    graph.judge = as_told
    odds = np.array([-0.1, -0.2])  # photo 1 is slightly ahead of photo 0, but matches photo 2
    ranking = Ranking(np.array([1, 0]), np.zeros(2, np.float32), odds, None, probability(odds))
    found, links = graph.rerank(ranking, odds, np.eye(3)[0], np.empty(0, np.int64))
    assert found.ids.tolist() == [0, 1, 2] and links == {2: (1,)}
    judged = dict(zip(found.ids.tolist(), found.probability.tolist()))
    assert judged[0] == pytest.approx(probability(-0.2 + SHIFT))
    against = CONTRADICTION * float(np.float16(0.9))
    own = probability(-0.1 + SHIFT - against)
    assert judged[1] == pytest.approx(own)  # the way back to a start adds nothing
    assert judged[2] == pytest.approx(TRUST * own**2 * float(np.float16(0.9)))
