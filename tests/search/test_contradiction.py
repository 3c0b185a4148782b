"""Contradictions in the matching graph, against a dense matrix and by hand."""

import copy
import json

import numpy as np
import pytest

from search.__main__ import main
from search.fusion.log_odds import probability
from search.ranking import Ranking
from search.result import hits_of
from search.stages.contradiction import NOTABLE, contradictions
from search.stages.graph import GraphEvidence, GraphWeights, MatchingGraph
from tests.conftest import GALLERY

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
    expected = (expected * (1 - dense))[ids]
    found = contradictions(ids, own, graph_of(worth), as_told, excluded)
    np.testing.assert_allclose(found.strength, expected.max(1), rtol=1e-12)
    others = np.where(expected.max(1) > 0, expected.argmax(1), -1)
    assert found.others.tolist() == others.tolist()


def test_no_match_contradicts_nothing():
    ids, own = np.array([3, 1]), np.array([0.5, 0.1])
    alone = graph_of(np.zeros((4, 4)))
    found = contradictions(ids, own, alone, as_told, np.empty(0))
    assert found.strength.tolist() == [0, 0] and found.others.tolist() == [-1, -1]
    assert found.notable(ids, np.empty(0)) == {}
    damaged = graph_of(np.array([[0, 1.0], [1.0, 0]]))
    damaged["id"][0, 0] = 9
    found = contradictions(np.array([0]), own[:1], damaged, as_told, np.empty(0))
    assert found.strength.tolist() == [0] and found.others.tolist() == [-1]


def test_the_photo_that_contradicts_most_is_named():
    """By hand: 0.9 x (1 - 0.8) = 0.18 by photo 1, 0.7 x (1 - 0) = 0.7 by photo 2."""
    worth = np.zeros((3, 3))
    worth[0, 1] = worth[1, 0] = 0.9
    worth[0, 2] = worth[2, 0] = 0.7
    ids, own = np.array([1, 0]), np.array([0.8, 0.5])
    found = contradictions(ids, own, graph_of(worth), as_told, np.empty(0))
    # Photo 1 is contradicted by photo 0: 0.9 x (1 - 0.5) = 0.45, which is not notable.
    np.testing.assert_allclose(found.strength, [0.45, 0.7], atol=1e-3)
    assert found.others.tolist() == [0, 2]
    assert found.notable(ids, np.array([1])) == {0: (2, pytest.approx(0.7, abs=1e-3))}
    assert found.notable(ids, np.array([2])) == {}, "photo 2 is likely after all"


class Compared:
    """A store of three photos, of which the graph needs only edges and descriptors."""

    edges = graph_of(np.array([[0, 0, 0], [0, 0, 0.9], [0, 0.9, 0]]))
    descriptors = np.eye(3, dtype=np.float16)


def test_a_photo_that_matches_strangers_falls_behind_one_that_matches_none():
    weights = GraphWeights(shift=0.3, contradiction=0.8, trust=0.4)
    graph = MatchingGraph(Compared(), None, weights)
    graph.judge = as_told
    odds = np.array([-0.1, -0.2])  # photo 1 is slightly ahead of photo 0, but matches photo 2
    ranking = Ranking(np.array([1, 0]), np.zeros(2, np.float32), odds, None, probability(odds))
    found, why = graph.rerank(ranking, odds, np.eye(3)[0], np.empty(0, np.int64))
    assert found.ids.tolist() == [0, 1, 2] and why.chains == {2: (1,)}
    assert why.contradictions == {1: (2, float(np.float16(0.9)))}
    judged = dict(zip(found.ids.tolist(), found.probability.tolist()))
    assert judged[0] == pytest.approx(probability(-0.2 + weights.shift))
    against = weights.contradiction * float(np.float16(0.9))
    own = probability(-0.1 + weights.shift - against)
    assert judged[1] == pytest.approx(own)  # the way back to a start adds nothing
    assert judged[2] == pytest.approx(weights.trust * own**2 * float(np.float16(0.9)))


def test_hits_name_the_photos_that_contradict_them(engine, gallery):
    """Against every edge, weighed by the probabilities of a search without the graph."""
    query = engine.prepare(gallery.catalogue.find("petra.jpg").id)
    plain = copy.copy(engine)
    plain.graph = None
    own = {hit.id: hit.probability for hit in plain.search(query, "diffusion", "sift", 400).hits}
    hits = engine.search(query, "diffusion", "sift", 400).hits
    likely, named = {hit.id for hit in hits if hit.probability >= 0.5}, 0
    for hit in hits:
        edges = gallery.edges[hit.id]
        edges = edges[(edges["id"] >= 0) & ~np.isin(edges["id"], query.in_gallery)]
        others = [own.get(int(id), 0.0) for id in edges["id"]]
        strength = engine.graph.judge(np.full(len(edges), hit.id), edges) * (1 - np.array(others))
        found = hit.contradicted_by
        best = edges[strength.argmax()] if len(edges) else None
        if hit.id not in own or strength.max(initial=0) < NOTABLE or best["id"] in likely:
            assert found is None
            continue
        named += 1
        assert found.strength == pytest.approx(strength.max())
        assert (found.id, found.inliers) == (best["id"], best["inliers"])
        photo = gallery.catalogue.photo(found.id)
        assert (found.file, found.title) == (photo.file, photo.title)
    assert named > 5


def test_nothing_counts_against_the_query_itself(engine, gallery):
    ranking = engine.prepare(0).candidates[:2]
    one, other = ranking.ids.tolist()
    why = GraphEvidence(contradictions={one: (other, 0.9), other: (one, 0.8)})
    hits = hits_of(gallery, ranking, {}, [one], why)
    assert [hit.contradicted_by and hit.contradicted_by.id for hit in hits] == [None, one]


def test_the_command_prints_the_contradiction(gallery_path, engine, gallery, capsys):
    options = ["--store", str(gallery_path), "--diffusion", "--sift", "-k", "40", "--json"]
    assert main([str(GALLERY / "petra.jpg"), *options]) == 0
    printed = {hit["file"]: hit for hit in json.loads(capsys.readouterr().out)["hits"]}
    against = printed["colosseum.jpg"]["contradicted_by"]
    edges = gallery.edges[gallery.catalogue.find("colosseum.jpg").id]
    [edge] = edges[edges["id"] == gallery.catalogue.find("colosseum-2.jpg").id]
    assert set(against) == {"file", "inliers", "strength"} and NOTABLE <= against["strength"] <= 1
    assert (against["file"], against["inliers"]) == ("colosseum-2.jpg", edge["inliers"])
    assert printed["petra.jpg"]["contradicted_by"] is None
