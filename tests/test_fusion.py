"""Fusion and its fit, against logistic regressions written out and data whose law is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from evaluation import fit as fitting
from evaluation.__main__ import main
from search import Engine
from search.fusion import fusion
from search.fusion.fusion import Evidence


def evidence(n: int, rng: np.random.Generator) -> Evidence:
    inliers = rng.integers(0, 60, n) * rng.integers(0, 2, n)
    return Evidence(
        background=0.6,
        spread=0.2,
        standing=np.sort(rng.uniform(-0.2, 1, n))[::-1],
        verified=inliers >= 10,
        inliers=inliers,
        matches=inliers + rng.integers(0, 40, n),
        coverage=rng.uniform(0, 0.5, n) * (inliers > 0),
    )


def test_log_odds_written_out():
    known = Evidence(
        0.6,
        0.2,
        np.array([0.5]),
        np.array([True]),
        np.array([20]),
        np.array([40]),
        np.array([0.25]),
    )
    weights = np.array([-1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    expected = -1 + 2 * 0.6 + 3 * 0.5 + 4 * 0.5 * 0.2 + 5 * 1 + 6 * np.log(21) + 7 * 0.5 + 8 * 0.5
    assert fusion.log_odds(known, weights) == pytest.approx([expected])
    assert fusion.log_odds(known, weights[:4]) == pytest.approx([-1 + 1.2 + 1.5 + 0.4])


def test_probability_is_the_logistic_function_and_never_overflows():
    x = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(fusion.probability(x), 1 / (1 + np.exp(-x)))
    assert fusion.probability(np.array([-1e6, 1e6])).tolist() == [0, 1]


def test_words():
    assert [fusion.word(p) for p in (0.95, 0.9, 0.6, 0.5, 0.2)] == [
        "sure",
        "sure",
        "likely",
        "likely",
        "unsure",
    ]


def test_more_evidence_never_lowers_a_photo():
    weights = fusion.load_weights()
    assert set(weights) == {"off", "reranked", *fusion.WITH_POINTS}
    for name, w in weights.items():
        assert len(w) == len(fusion.feature_names(name in fusion.WITH_POINTS))
        assert (w[len(fusion.OF_THE_QUERY) :] >= 0).all() and w[2] + w[3] > 0


def test_matched_points_outweigh_a_standing_below_the_background():
    """A verified photo is judged as if it stood at the background at least, one without points by where it stands."""
    standing = np.array([-2.0, -2.0, 0.0])
    none = np.zeros(3)
    known = Evidence(0.6, 0.2, standing, np.array([True, False, False]), none, none, none)
    weights = np.array([0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert fusion.log_odds(known, weights) == pytest.approx([5.0, -2 * 3 - 2 * 0.2 * 4, 0.0])


def test_without_verification_the_order_is_the_global_one():
    known = evidence(50, np.random.default_rng(0))
    for name in ("off", "reranked"):
        odds = fusion.log_odds(known, fusion.load_weights()[name])
        assert (np.diff(odds) < 0).all()


def test_fit_is_the_most_likely_regression():
    """Against a general minimiser on the unscaled, unbounded problem."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(4000), rng.normal(3, 2, (4000, 2))])
    y = (rng.random(4000) < fusion.probability(x @ [-4.0, 1.0, 0.5])).astype(float)
    weight = rng.uniform(0.5, 2, 4000)

    def loss(w):
        p = fusion.probability(x @ w)
        return -np.average(y * np.log(p) + (1 - y) * np.log(1 - p), weights=weight)

    expected = minimize(loss, np.zeros(3)).x
    found = fitting.fit(x, y, weight, free=1)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(approx_fprime(found, loss)).max() < 1e-3


def test_evidence_that_speaks_against_gets_no_weight():
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(2000), rng.normal(size=(2000, 2))])
    y = (rng.random(2000) < fusion.probability(x @ [0.0, 2.0, -1.0])).astype(float)
    found = fitting.fit(x, y, np.ones(2000), free=1)
    assert found[2] == 0 and found[1] > 1
    assert fitting.fit(x, y, np.ones(2000), free=3)[2] < -0.5


def samples() -> fitting.Samples:
    """Two groups of 2 and 3 photos; of the last query one relevant photo is missing."""
    relevant = (
        np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0]]).ravel().astype(bool)
    )
    query = np.repeat(np.arange(5), 3)
    group = np.repeat([0, 0, 1, 1, 1], 3)
    mode = np.repeat(["verification", "off", "off", "verification", "off"], 3)
    return fitting.Samples(np.ones((15, 1)), mode, relevant, np.ones(15), np.ones(15), query, group)


def test_mean_ap_by_hand():
    scores = np.tile([3.0, 2.0, 1.0], 5)
    groups = [[0, 1], [2, 3, 4]]
    # a: 1 and 1/2; b: (1 + 1) / 2, (1 + 2/3) / 2, and one of two found at rank 2: (1/2) / 2
    expected = ((1 + 0.5) / 2 + (1 + 5 / 6 + 0.25) / 3) / 2
    assert fitting.mean_ap(samples(), scores, groups) == pytest.approx(expected)


def test_photos_in_no_group_are_queries_without_an_answer(gallery, extractor):
    engine = Engine(gallery, extractor)
    prepared = [engine.prepare(id) for id in range(len(gallery))]
    find = gallery.catalogue.find
    pair = [find("colosseum.jpg").id, find("colosseum-2.jpg").id]
    three = [find(f"{name}.jpg").id for name in ("taj-mahal", "taj-mahal-2", "taj-mahal-3")]
    found = fitting.collect(
        engine, prepared, [pair, three], reranked=False, sift=False, matcher="sift", progress=iter
    )
    assert len(np.unique(found.query)) == len(gallery) and found.relevant.sum() == 2 * 1 + 3 * 2
    assert not found.relevant[found.query < 0].any()
    known = found.query >= 0
    irrelevant = ~found.relevant
    for g in (0, 1):
        part = known & irrelevant & (found.group == g)
        assert found.weight[part].sum() == pytest.approx(1, abs=0.01), "groups weigh the same"
        assert found.prior[part].sum() == pytest.approx(1, abs=0.01)
    assert found.weight[~known].sum() == 0
    assert found.prior[~known].sum() == pytest.approx(2, abs=0.01), (
        "all others together weigh as much as all groups"
    )


def test_the_second_fit_keeps_the_order_and_meets_the_prior():
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(6000), np.zeros(6000), rng.normal(size=(6000, 2))])
    y = rng.random(6000) < fusion.probability(x @ [-1.0, 0.0, 1.5, 1.0])
    prior = np.where(y, 0.1, 1.0)  # a tenth as many are relevant where it will be used
    found = fitting.Samples(
        x, np.full(6000, "off"), y, np.ones(6000), prior, np.arange(6000), np.zeros(6000, int)
    )
    weights = fitting.fit_samples(found, np.ones(6000, bool))["off"]
    assert weights[2] / weights[3] == pytest.approx(1.5, rel=0.1)
    mean = np.average(fusion.probability(x @ weights), weights=prior)
    assert mean == pytest.approx(np.average(y, weights=prior), rel=0.02)


def test_reliability_by_hand():
    odds = np.log([1e-4, 0.25, 0.25, 9999, 9999] * 3)  # probabilities 0, 0.2 twice, 1 twice
    rows = fitting.reliability(samples(), odds)
    relevant = samples().relevant.reshape(3, 5)
    assert [row[0] for row in rows] == pytest.approx([1e-4, 0.2, 0.9999], abs=1e-4)
    assert [row[1] for row in rows] == pytest.approx(
        [relevant[:, 0].mean(), relevant[:, 1:3].mean(), relevant[:, 3:].mean()]
    )
    assert sum(row[2] for row in rows) == pytest.approx(1)


FITTED = {"verification": np.array([5.0]), "off": np.array([7.0])}


def test_held_out_has_not_seen_its_own_group(monkeypatch):
    seen = []
    monkeypatch.setattr(
        fitting, "fit_samples", lambda s, kept: seen.append(set(s.group[kept])) or FITTED
    )
    odds = fitting.held_out(samples())
    assert seen == [{1}, {0}]
    assert odds.tolist() == [5.0] * 3 + [7.0] * 6 + [5.0] * 3 + [7.0] * 3, "each by its own mode"


def test_the_command_writes_what_the_engine_reads(
    gallery, gallery_path, extractor, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(fitting, "SHARES", (1.0,))
    groups = {
        "Taj Mahal": ["taj-mahal.jpg", "taj-mahal-2.jpg"],
        "Colosseum": ["colosseum.jpg", "colosseum-2.jpg"],
    }
    (tmp_path / "g.json").write_text(json.dumps(groups))
    out, curve = tmp_path / "fusion.json", tmp_path / "curve.json"
    where = ["--store", str(gallery_path), "--groups", str(tmp_path / "g.json"), "--out", str(out)]
    assert main(["fit", *where, "--curve", str(curve)]) == 0
    assert "diffusion + SIFT" in capsys.readouterr().out
    assert fusion.load_share(out) == 1.0 and set(json.loads(curve.read_text())) >= {
        "title",
        "x",
        "y",
    }
    engine = Engine(gallery, extractor)
    engine.fusion.weights["sift"] = fusion.load_weights(out)
    query = engine.prepare(gallery.catalogue.find("colosseum.jpg").id)
    hits = engine.search(query, rerank="diffusion", verify="sift").hits
    assert hits[0].file == "colosseum-2.jpg" and hits[0].probability > hits[1].probability
    assert hits[0].score == pytest.approx(
        np.log(hits[0].probability / (1 - hits[0].probability)), rel=1e-3
    )
