"""Fusion, its calibration files and its fit, against formulas written out and made data."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from evaluation.__main__ import main
from evaluation.calibration import evidence as asking
from evaluation.calibration import fit as fitting
from evaluation.calibration import labelled_galleries
from evaluation.subgallery import SubGallery
from index_store import Store, build
from search import RERANKERS, Engine
from search.__main__ import main as search
from search.fusion import fit, log_odds
from search.fusion.calibration import (
    FITTED,
    REFERENCE,
    BadCalibration,
    Calibration,
    CalibrationModel,
    Fitted,
    read_fitted,
    write_fitted,
)
from search.fusion.log_odds import Evidence
from tests.conftest import GALLERY

NEEDED = [(None, None), (None, "sift")] + [
    (rerank, verify) for rerank in RERANKERS for verify in (None, "sift")
]


def evidence(n: int, rng: np.random.Generator) -> Evidence:
    inliers = rng.integers(0, 60, n) * rng.integers(0, 2, n)
    return Evidence(
        background=0.6,
        spread=0.2,
        photos=400,
        similarity=np.sort(rng.uniform(0.5, 0.9, n))[::-1],
        standing=np.sort(rng.uniform(-0.2, 1, n))[::-1],
        verified=inliers >= 10,
        inliers=inliers,
        matches=inliers + rng.integers(0, 40, n),
        coverage=rng.uniform(0, 0.5, n) * (inliers > 0),
    )


@pytest.fixture(scope="module")
def shipped(extractor) -> Calibration:
    return Calibration.of(extractor.fingerprint)


# -- fusion ----------------------------------------------------------------------------------------


def test_log_odds_written_out():
    known = Evidence(
        background=0.6,
        spread=0.2,
        photos=50,
        similarity=np.array([0.7]),
        standing=np.array([0.5]),
        verified=np.array([True]),
        inliers=np.array([20]),
        matches=np.array([40]),
        coverage=np.array([0.25]),
    )
    weights = np.array([-1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0, 7.0, 8.0])
    expected = -1 + 2 * 0.6 + 3 * 0.5 + 4 * 0.5 * 0.2 + 9 * 0.1
    expected += 5 * 1 + 6 * np.log(21) + 7 * 0.5 + 8 * 0.5
    assert CalibrationModel(weights).log_odds(known) == pytest.approx([expected])
    plain = -1 + 1.2 + 1.5 + 0.4
    assert CalibrationModel(weights[:4]).log_odds(known) == pytest.approx([plain])
    smaller = plain - 0.3 * np.log(log_odds.FULL_SIZE / 50)
    assert CalibrationModel(weights[:4], size=-0.3).log_odds(known) == pytest.approx([smaller])


def test_calibration_is_kulls_map_and_keeps_the_order():
    z = np.linspace(-8, 8, 50)
    p = log_odds.probability(z)
    expected = 0.7 * np.log(p) - 0.4 * np.log(1 - p) - 0.3
    np.testing.assert_allclose(log_odds.calibrated(z, 0.7, 0.4, -0.3), expected, atol=1e-9)
    np.testing.assert_allclose(log_odds.calibrated(z, 1, 1, 0), z, atol=1e-9)
    far = log_odds.calibrated(np.array([-1e4, -1e3, 1e3, 1e4]), 0.7, 0.4, -0.3)
    assert (np.diff(far) > 0).all() and np.isfinite(far).all()


def test_probability_is_the_logistic_function_and_never_overflows():
    x = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(log_odds.probability(x), 1 / (1 + np.exp(-x)))
    assert log_odds.probability(np.array([-1e6, 1e6])).tolist() == [0, 1]


def test_words():
    words = [log_odds.word(p) for p in (0.95, 0.9, 0.8, 0.7, 0.69, 0.2)]
    assert words == ["sure", "sure", "likely", "likely", "unsure", "unsure"]


def test_matched_points_outweigh_a_standing_below_the_background():
    """A verified photo is judged as if at the background at least, another by where it stands."""
    standing = np.array([-2.0, -2.0, 0.0])
    none = np.zeros(3)
    verified = np.array([True, False, False])
    known = Evidence(0.6, 0.2, 400, none, standing, verified, none, none, none)
    weights = np.array([0.0, 0.0, 3.0, 4.0, 9.0, 5.0, 6.0, 7.0, 8.0])
    assert CalibrationModel(weights).log_odds(known) == pytest.approx(
        [5.0, -2 * 3 - 2 * 0.2 * 4, 0.0]
    )


# -- what is shipped -------------------------------------------------------------------------------


def test_every_reranker_is_fitted_alone_and_with_sift(shipped):
    assert all(shipped.is_fitted(rerank, verify) for rerank, verify in NEEDED)
    assert shipped.is_fitted(None, "xfeat") and shipped.is_fitted("diffusion", "xfeat")
    assert not shipped.is_fitted("dba", "xfeat"), "it never was"


def test_more_evidence_never_lowers_a_photo(shipped):
    rng = np.random.default_rng(5)
    for rerank, verify in [*NEEDED, ("diffusion", "xfeat"), (None, "xfeat")]:
        for any_verified in (False, True):
            known = evidence(40, rng)
            before = shipped.log_odds(known, rerank, verify, any_verified)
            for name in ("standing", "verified", "inliers", "coverage"):
                more = getattr(known, name) + 1 * (name != "verified") + (name == "verified")
                if name == "verified":
                    more = np.ones(40, bool)
                after = shipped.log_odds(
                    Evidence(**{**vars(known), name: more}), rerank, verify, any_verified
                )
                assert (after >= before - 1e-9).all()


def test_without_verification_the_order_is_the_global_one(shipped):
    known = evidence(50, np.random.default_rng(0))
    for rerank in (None, *RERANKERS):
        assert (np.diff(shipped.log_odds(known, rerank, None)) < 0).all()


def test_the_first_photo_is_not_pushed_down_by_points_that_are_too_few_to_verify(shipped):
    """Two photos of a thing: the right one is first by far, without points, as night is to day.

    A wrong photo far behind has a few points, fewer than verify. It stays behind; with many points
    it may pass.
    """
    standing = np.array([1.0, 0.15, 0.1, 0.05])

    def odds(inliers: int, coverage: float) -> np.ndarray:
        points = np.array([0, inliers, 0, 0])
        known = Evidence(
            background=0.55,
            spread=0.2,
            photos=400,
            similarity=0.55 + 0.2 * standing,
            standing=standing,
            verified=points >= 8,
            inliers=points,
            matches=np.where(points, points + 52, 0),
            coverage=np.where(points, coverage, 0),
        )
        return shipped.log_odds(known, "diffusion", "sift", True)

    assert odds(5, 0.002).argmax() == 0 and odds(200, 0.5).argmax() == 1


# -- files -----------------------------------------------------------------------------------------


def made(fingerprint: str = "f" * 64) -> Fitted:
    alone = {"alone": CalibrationModel(np.array([-1.0, 2.0, 3.0, 4.0]), 0.5, 2.0, -0.25)}
    points = np.array([0.5, -1.0, 1.0, 2.0, 7.0, 3.0, 4.0, 5.0, 6.0])
    both = {"verified": CalibrationModel(points), "none verified": CalibrationModel(points + 1)}
    pairs = {
        ("none", "none"): alone,
        ("none", "sift"): {"alone": CalibrationModel(points)},
        ("diffusion", "none"): alone,
        ("diffusion", "sift"): both,
    }
    return Fitted("made", fingerprint, pairs, {"photos": 12})


@pytest.fixture
def folder(tmp_path):
    """Calibrations of the reference model and of a made one."""
    (tmp_path / REFERENCE).write_bytes((FITTED / REFERENCE).read_bytes())
    write_fitted(made(), tmp_path / "any-name.json")
    return tmp_path


def test_models_are_calibrated_side_by_side(folder, extractor):
    known = evidence(9, np.random.default_rng(1))
    mine = Calibration.of("f" * 64, folder)
    reference = Calibration.of(extractor.fingerprint, folder)
    z = log_odds.features(known, log_odds.feature_names(False, False)) @ [-1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(mine.log_odds(known), log_odds.calibrated(z, 0.5, 2.0, -0.25))
    verified, other = (mine.log_odds(known, "diffusion", "sift", any) for any in (True, False))
    names = log_odds.feature_names(True, False)
    np.testing.assert_allclose(other - verified, log_odds.features(known, names).sum(1))
    assert not np.allclose(mine.log_odds(known), reference.log_odds(known))


def test_an_unknown_model_is_put_in_order_but_nothing_is_claimed(folder, extractor):
    unknown = Calibration.of("0" * 64, folder)
    reference = Calibration.of(extractor.fingerprint, folder)
    known = evidence(9, np.random.default_rng(1))
    for rerank, verify in NEEDED:
        assert not unknown.is_fitted(rerank, verify)
        assert unknown.log_odds(known, rerank, verify, True) is None
        np.testing.assert_array_equal(
            unknown.order_by(known, rerank, verify, True),
            reference.order_by(known, rerank, verify, True),
        )


def test_a_pair_that_was_not_fitted_is_put_in_order_by_the_nearest(folder, extractor):
    known = evidence(9, np.random.default_rng(1))
    mine = Calibration.of("f" * 64, folder)
    assert mine.log_odds(known, "dba", "sift") is None
    np.testing.assert_array_equal(
        mine.order_by(known, "dba", "sift", True), mine.order_by(known, "diffusion", "sift", True)
    )
    np.testing.assert_array_equal(  # nothing of its own for the matcher: the reference's
        mine.order_by(known, None, "xfeat"),
        Calibration.of(extractor.fingerprint, folder).order_by(known, None, "xfeat"),
    )
    with pytest.raises(BadCalibration, match="'magic'"):
        mine.order_by(known, None, "magic")


def test_a_file_survives_the_round(tmp_path):
    write_fitted(made(), tmp_path / "a.json")
    again = read_fitted(tmp_path / "a.json")
    write_fitted(again, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert again.pairs.keys() == made().pairs.keys() and again.fitted_on == {"photos": 12}
    curve = again.pairs["none", "none"]["alone"]
    assert (curve.low, curve.high, curve.shift) == (0.5, 2.0, -0.25)


def broken(change) -> str:
    facts = json.loads((FITTED / REFERENCE).read_text())
    change(facts)
    return json.dumps(facts)


def alone(facts: dict) -> dict:
    return facts["pairs"]["none"]["none"]["alone"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        "\x00\xff",
        " " * 2**21,
        broken(lambda facts: facts.update(schema=99)),
        broken(lambda facts: facts.update(fingerprint=7)),
        broken(lambda facts: facts.update(pairs=[])),
        broken(lambda facts: facts["pairs"]["none"].update(none={})),
        broken(lambda facts: alone(facts)["weights"].pop("bias")),
        broken(lambda facts: alone(facts)["weights"].update(standing=-1)),
        broken(lambda facts: alone(facts)["weights"].update(bias="1")),
        broken(lambda facts: alone(facts)["weights"].update(bias=1e300)),
        broken(lambda facts: alone(facts)["weights"].update(bias=10**400)),
        broken(lambda facts: alone(facts).update(low=0)),
        broken(lambda facts: alone(facts).pop("shift")),
    ],
)
def test_a_damaged_file_is_named_in_a_sentence(folder, content):
    path = folder / "damaged.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(BadCalibration, match="damaged.json"):
        Calibration.of("f" * 64, folder)


def test_two_files_for_one_model_and_a_missing_reference_are_named(folder):
    write_fitted(made(), folder / "twice.json")
    with pytest.raises(BadCalibration, match="any-name.json and twice.json"):
        Calibration.of("f" * 64, folder)
    (folder / "twice.json").unlink()
    (folder / REFERENCE).unlink()
    with pytest.raises(BadCalibration, match=f"{REFERENCE} is missing"):
        Calibration.of("f" * 64, folder)


def test_probabilities_are_shown_only_where_they_were_fitted(gallery, extractor):
    engine = Engine(gallery, extractor)
    pictured = engine.prepare(gallery.catalogue.find("colosseum.jpg").id)
    options = {"rerank": "dba", "verify": "sift", "k": 3}
    known = engine.search(pictured, **options).hits
    assert engine.is_calibrated("dba", "sift") and all(0 <= hit.probability <= 1 for hit in known)
    assert engine.explain(pictured, known[0].id).probability is not None
    own = read_fitted(FITTED / REFERENCE)
    del own.pairs["dba", "sift"]
    engine.fusion.calibration = Calibration(own, own)
    assert not engine.is_calibrated("dba", "sift") and engine.is_calibrated("dba", None)
    unknown = engine.search(pictured, **options)
    assert [hit.probability for hit in unknown.hits] == [None] * 3
    assert {hit.confidence for hit in unknown.hits} == {""}
    assert not any(hit.is_weak for hit in unknown.hits)
    assert unknown.to_dict("q")["hits"][0]["probability"] is None


# -- the fit ---------------------------------------------------------------------------------------


def test_regression_is_the_most_likely_one():
    """Against a general minimiser on the unscaled, unbounded problem."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(4000), rng.normal(3, 2, (4000, 2))])
    y = (rng.random(4000) < log_odds.probability(x @ [-4.0, 1.0, 0.5])).astype(float)
    weight = rng.uniform(0.5, 2, 4000)

    def loss(w):
        p = log_odds.probability(x @ w)
        return -np.average(y * np.log(p) + (1 - y) * np.log(1 - p), weights=weight)

    expected = minimize(loss, np.zeros(3)).x
    found = fit.regression(x, y, weight, np.array([-np.inf, 0, 0]))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(approx_fprime(found, loss)).max() < 1e-3


def test_evidence_that_speaks_against_gets_no_weight():
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(2000), rng.normal(size=(2000, 2))])
    y = (rng.random(2000) < log_odds.probability(x @ [0.0, 2.0, -1.0])).astype(float)
    found = fit.regression(x, y, np.ones(2000), np.array([-np.inf, 0, 0]))
    assert found[2] == 0 and found[1] > 1
    free = np.array([-np.inf, -np.inf, -np.inf])
    assert fit.regression(x, y, np.ones(2000), free)[2] < -0.5
    assert fit.regression(x, y, np.ones(2000), np.array([-np.inf, 0, 0.25]))[2] == pytest.approx(
        0.25
    )


def test_beta_calibration_finds_the_map_that_was_bent():
    rng = np.random.default_rng(3)
    z = rng.normal(-1, 3, 60_000)
    true = log_odds.calibrated(z, 0.5, 1.5, -1.0)
    photos = rng.choice([25, 2500], 60_000)
    true = true + 0.4 * log_odds.smallness(photos)
    y = rng.random(60_000) < log_odds.probability(true)
    low, high, shift, size = fit.beta_calibration(z, y, np.ones(60_000), photos)
    assert (low, high, shift, size) == pytest.approx((0.5, 1.5, -1.0, 0.4), abs=0.1)
    before = fit.calibration_error(z, y, np.ones(60_000), 0.05)
    found = log_odds.calibrated(z, low, high, shift + size * log_odds.smallness(photos))
    after = fit.calibration_error(found, y, np.ones(60_000), 0.05)
    assert after < 0.02 < before


def test_calibration_never_turns_the_order_round():
    """Even where the data do: of photos that the regression likes more, fewer are right."""
    rng = np.random.default_rng(4)
    z = rng.normal(0, 3, 5000)
    y = rng.random(5000) < log_odds.probability(-z)
    low, high, _, _ = fit.beta_calibration(z, y, np.ones(5000), np.full(5000, 400))
    assert low > 0 and high > 0


def samples(**changed) -> fit.Samples:
    """Two groups of 2 and 3 photos; of the last query one relevant photo is missing."""
    relevant = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0]], bool).ravel()
    columns = {
        "features": np.ones((15, 4)),
        "mode": np.full(15, "alone"),
        "relevant": relevant,
        "weight": np.ones(15),
        "prior": np.ones(15),
        "query": np.repeat(np.arange(5), 3),
        "group": np.repeat([0, 0, 1, 1, 1], 3),
        "photos": np.full(15, 5),
    }
    return fit.Samples(**{**columns, **changed})


def test_mean_ap_by_hand():
    scores = np.tile([3.0, 2.0, 1.0], 5)
    groups = [[0, 1], [2, 3, 4]]
    # a: 1 and 1/2; b: (1 + 1) / 2, (1 + 2/3) / 2, and one of two found at rank 2: (1/2) / 2
    expected = ((1 + 0.5) / 2 + (1 + 5 / 6 + 0.25) / 3) / 2
    found = fitting.group_maps(samples(), scores, groups)
    assert found.mean() == pytest.approx(expected)


def test_reliability_and_its_error_by_hand():
    odds = np.log([1e-4, 0.25, 0.25, 9999, 9999] * 3)  # probabilities 0, 0.2 twice, 1 twice
    relevant = samples().relevant
    rows = fit.reliability(odds, relevant, np.ones(15))
    shares = relevant.reshape(3, 5)
    expected = [shares[:, 0].mean(), shares[:, 1:3].mean(), shares[:, 3:].mean()]
    assert [row[0] for row in rows] == pytest.approx([1e-4, 0.2, 0.9999], abs=1e-4)
    assert [row[1] for row in rows] == pytest.approx(expected)
    assert sum(row[2] for row in rows) == pytest.approx(1)
    gaps = np.abs(np.array(expected) - [1e-4, 0.2, 0.9999])
    error = fit.calibration_error(odds, relevant, np.ones(15))
    assert error == pytest.approx(gaps @ [3, 6, 6] / 15, abs=1e-6)
    error = fit.calibration_error(odds, relevant, np.ones(15), least=0.05)
    assert error == pytest.approx(gaps[1:] @ [6, 6] / 12, abs=1e-6)


def law(rng: np.random.Generator, groups: int = 12, queries: int = 20) -> fit.Samples:
    """Queries whose candidates are relevant by a known law, in groups."""
    n = groups * queries * 30
    x = np.column_stack([np.ones(n), np.zeros(n), rng.normal(size=(n, 2))])
    y = rng.random(n) < log_odds.probability(x @ [-1.0, 0.0, 1.5, 1.0])
    return samples(
        features=x,
        mode=np.full(n, "alone"),
        relevant=y,
        weight=np.ones(n),
        prior=np.where(y, 0.1, 1.0),  # a tenth as many are relevant where it will be used
        query=np.repeat(np.arange(groups * queries), 30),
        group=np.repeat(np.arange(groups), queries * 30),
        photos=np.full(n, 31),
    )


def test_the_second_step_keeps_the_order_and_meets_the_prior(rng):
    found = law(rng)
    curve = fit.fit_curves(found)["alone"]
    assert curve.weights[2] / curve.weights[3] == pytest.approx(1.5, rel=0.1)
    odds = curve.of_features(found.features, found.photos)
    assert (np.argsort(odds) == np.argsort(found.features @ curve.weights)).all()
    mean = np.average(log_odds.probability(odds), weights=found.prior)
    assert mean == pytest.approx(np.average(found.relevant, weights=found.prior), rel=0.02)
    assert fit.calibration_error(odds, found.relevant, found.prior) < 0.02


def test_held_out_has_not_seen_its_own_group(rng):
    """A group that contradicts all others is judged by the others."""
    found = law(rng, groups=8)
    odd = found.group == 3
    found.relevant[odd] = ~found.relevant[odd]
    odds = fit.held_out(found)
    changed = fit.Samples(**{**vars(found), "relevant": np.where(odd, False, found.relevant)})
    np.testing.assert_allclose(fit.held_out(changed)[odd], odds[odd])
    assert np.corrcoef(odds[odd], found.features[odd] @ [-1.0, 0.0, 1.5, 1.0])[0, 1] > 0.9


def test_thinning_keeps_what_matters_and_the_weight(rng):
    names = log_odds.feature_names(True, True)
    n, points = 400, names.index("points")
    x = np.zeros((n, len(names)))
    x[[300, 301], points] = 2.0
    relevant = np.zeros(n, bool)
    relevant[[5, 377]] = True
    full = samples(
        features=x,
        mode=np.full(n, "alone"),
        relevant=relevant,
        weight=np.ones(n),
        prior=np.ones(n),
        query=np.zeros(n, int),
        group=np.zeros(n, int),
        photos=np.full(n, n + 1),
    )
    small = fit.thinned(full)
    assert (
        len(small) < n / 3
        and small.relevant.sum() == 2
        and (small.features[:, points] > 0).sum() == 2
    )
    assert small.weight.sum() == pytest.approx(n, rel=0.03)
    assert (small.weight[small.relevant] == 1).all()


# -- collecting ------------------------------------------------------------------------------------


def test_a_part_of_a_store_answers_as_a_store_of_these_photos(small_built, tmp_path, extractor):
    """Against a store that was built of half the photos."""
    import shutil

    from index_store import Store

    whole = Store(small_built / "store", extractor)
    ids = np.array([0, 1, 3, 4, 6, 7, 9, 11])
    (tmp_path / "photos").mkdir()
    for id in ids:
        shutil.copy(whole.photo_path(int(id)), tmp_path / "photos")
    build(tmp_path / "photos", tmp_path / "store", extractor)
    built = Engine(Store(tmp_path / "store", extractor), extractor)
    part = Engine(SubGallery(whole, ids), extractor)
    for query in range(len(ids)):
        for stages in ((None, None), ("diffusion", None), ("diffusion", "sift")):
            (ours, our, _), (theirs, their, _) = (
                e.evidence(e.prepare(query), *stages) for e in (part, built)
            )
            files = [
                [e.store.catalogue.photo(int(id)).file for id in found]
                for e, found in ((part, ours), (built, theirs))
            ]
            assert files[0] == files[1]
            np.testing.assert_allclose(our.standing, their.standing, rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(our.inliers, their.inliers)


def test_drawn_galleries_have_few_views_of_many_things(rng):
    groups = [list(range(start, start + 20)) for start in range(0, 100, 20)]
    ids = labelled_galleries.draw(groups, 160, 40, rng)
    assert len(set(ids.tolist())) == 40 and (np.diff(ids) > 0).all() and ids.max() < 160
    assert max(np.isin(members, ids).sum() for members in groups) <= labelled_galleries.MAX_VIEWS
    assert (ids >= 100).sum() > 20
    assert len(labelled_galleries.draw(groups, 160, 160, rng)) == 160


def test_several_stores_share_no_query_and_no_group(small_built, extractor, tmp_path):
    store = Store(small_built / "store", extractor)
    groups = [[8, 9, 10], [3, 4]]
    first = labelled_galleries.galleries_of(store, extractor, groups, "sift")
    second = labelled_galleries.galleries_of(store, extractor, groups, "sift", first)
    one, other = (asking.collect(galleries, (None, None)) for galleries in (first, second))
    assert set(one.query) == set(range(12)) and set(other.query) == set(range(12, 24))
    assert set(one.group) == {0, 1} and set(other.group) == {2, 3}
    np.testing.assert_array_equal(one.relevant, other.relevant)
    nothing = fitting.begin(tmp_path / "none", "model", extractor.fingerprint)
    both = fit.Samples.together([one, other])
    alone, together = (
        fitting.Fit(galleries, nothing).mean_ap(samples, samples.features[:, 2])  # the standing
        for galleries, samples in ((first, one), ([*first, *second], both))
    )
    assert 0.5 < alone == pytest.approx(together)


def test_photos_that_are_alone_are_queries_without_an_answer(gallery, extractor):
    find = gallery.catalogue.find
    two = [find("colosseum.jpg").id, find("colosseum-2.jpg").id]
    three = [find(f"{name}.jpg").id for name in ("taj-mahal", "taj-mahal-2", "taj-mahal-3")]
    one = [find("dune.jpg").id]
    groups = [two, three, one]
    whole = labelled_galleries.LabelledGallery(
        Engine(gallery, extractor), groups, 1.0, 1000, 0, True
    )
    found = asking.collect([whole], (None, None))
    assert len(np.unique(found.query)) == len(gallery) and found.relevant.sum() == 2 * 1 + 3 * 2
    assert found.query.min() == 1000
    known = found.weight > 0
    for g in (0, 1):
        part = known & ~found.relevant & (found.group == g)
        assert found.weight[part].sum() == pytest.approx(0.5, abs=0.01), "groups weigh the same"
        assert found.prior[part].sum() == pytest.approx(0.5, abs=0.01)
    assert not found.relevant[~known].any()
    assert found.prior[~known].sum() == pytest.approx(1, abs=0.01), "all others as much as those"
    assert (found.group[found.query == 1000 + one[0]] == 2).all(), "left out with its own group"


def test_a_pair_of_photos_is_verified_once(small_built, extractor):
    from index_store import Store

    store = Store(small_built / "store", extractor)
    engine, plain = (Engine(store, extractor) for _ in range(2))
    pairs = []
    original = engine.matchers["sift"].verify_many

    def counted(query, hits):
        pairs.extend((id(query), id(hit)) for hit in hits)
        return original(query, hits)

    engine.matchers["sift"].verify_many = counted
    once = labelled_galleries.SharedVerifications(engine.matchers["sift"])
    ids = np.array([0, 2, 4, 6, 8, 10])
    part = Engine(SubGallery(store, ids), extractor)
    once.redirect(engine.matchers["sift"], np.arange(len(store)))
    once.redirect(part.matchers["sift"], ids)
    whole, other, part = (
        labelled_galleries.LabelledGallery(one, [], 1.0, 0, 0, True)
        for one in (engine, plain, part)
    )
    for query in range(len(store)):
        _, found, _ = asking.evidence_of(whole, query, (None, "sift"))
        if query == 0:
            _, expected, _ = asking.evidence_of(other, query, (None, "sift"))
            np.testing.assert_array_equal(found.inliers, expected.inliers)
    assert len(pairs) == len(store) * (len(store) - 1) / 2
    for query in range(len(ids)):
        numbers, found, _ = asking.evidence_of(part, query, (None, "sift"))
        expected = once.verify_many(int(ids[query]), ids[numbers].tolist())
        assert found.inliers.tolist() == [one.inliers for one in expected]
    assert len(pairs) == len(store) * (len(store) - 1) / 2


# -- the command -----------------------------------------------------------------------------------


def ask_for_a_fit(store, groups: dict, folder, *options: str) -> int:
    (folder / "g.json").write_text(json.dumps(groups))
    return main(["fit", "--store", str(store), "--groups", str(folder / "g.json"), *options])


FIVE = {
    name: [f"{name}.jpg", f"{name}-2.jpg"]
    for name in ("taj-mahal", "colosseum", "brandenburg-gate", "qutub-minar", "great-pyramid")
}


def test_too_little_to_fit_is_a_sentence_and_writes_nothing(gallery_path, tmp_path, capsys):
    out = tmp_path / "out.json"
    one = {"Taj Mahal": ["taj-mahal.jpg", "taj-mahal-2.jpg"]}
    assert ask_for_a_fit(gallery_path, one, tmp_path, "--out", str(out)) == 1
    assert "too little to fit: 1 group;" in capsys.readouterr().err and not out.exists()


def test_a_fit_says_where_it_writes_or_is_refused(gallery_path, tmp_path, capsys):
    before = (FITTED / REFERENCE).read_bytes()
    with pytest.raises(SystemExit):
        ask_for_a_fit(gallery_path, FIVE, tmp_path)
    assert "--out" in capsys.readouterr().err and (FITTED / REFERENCE).read_bytes() == before
    nowhere = str(tmp_path / "none" / "out.json")
    assert ask_for_a_fit(gallery_path, FIVE, tmp_path, "--out", nowhere) == 1
    assert "no folder" in capsys.readouterr().err, "said before hours of fitting, not after"


def test_a_damaged_calibration_is_a_sentence_of_the_search(small_built, monkeypatch, capsys):
    damaged = BadCalibration("mine.json is no calibration, or a damaged one.")
    monkeypatch.setattr(
        "search.fusion.apply.Calibration", SimpleNamespace(of=Mock(side_effect=damaged))
    )
    photo, store = str(GALLERY / "wine.jpg"), str(small_built / "store")
    assert search([photo, "--store", store]) == 1
    assert capsys.readouterr().err == f"error: {damaged}\n"
