"""A gallery photo and the same photo uploaded are one query: their answers agree."""

from __future__ import annotations

import numpy as np
import pytest

from search.verify.shortlist import query_keypoints

SEARCHES = ({}, {"rerank": "diffusion"})
VERIFIED = ({"verify": "sift"}, {"rerank": "diffusion", "verify": "sift"})
ROUNDING = 2e-3  # of a similarity: stored descriptors are float16


@pytest.fixture(scope="module")
def pairs(engine):
    """Every third photo of the sample gallery as a gallery photo and as an upload."""
    store = engine.store
    return [
        (engine.prepare(photo.id), engine.prepare(store.photo_path(photo.id).read_bytes()))
        for photo in store.catalogue.photos()[::3]
    ]


def test_both_have_the_same_candidates_and_copies(pairs, engine):
    for known, upload in pairs:
        (id,) = known.own_ids
        assert set(upload.copy_ids) == {id, *known.copy_ids}
        others = dict(zip(upload.candidates.ids, upload.candidates.similarity))
        assert others.pop(id) > 0.999
        assert set(others) == set(known.candidates.ids)
        found = [others[id] for id in known.candidates.ids]
        np.testing.assert_allclose(found, known.candidates.similarity, atol=ROUNDING)
        assert known.scale.background == pytest.approx(upload.scale.background, abs=ROUNDING)
        assert known.scale.spread == pytest.approx(upload.scale.spread, abs=ROUNDING)
        assert known.scale.rank == upload.scale.rank


def test_both_have_the_same_keypoints(pairs, engine):
    matcher = engine.matchers["sift"]
    for known, upload in pairs:
        one, other = (query_keypoints(q.photos[0], "sift", matcher) for q in (known, upload))
        np.testing.assert_allclose(one.points, other.points, atol=1 / 64)  # as they are stored
        np.testing.assert_array_equal(one.descriptors, other.descriptors)


def same_answers(engine, known, upload, stages):
    (id,) = known.own_ids
    one = engine.search(known, **stages, k=len(engine.store)).hits
    other = engine.search(upload, **stages, k=len(engine.store)).hits
    chances = {hit.id: hit.probability for hit in other}
    assert chances.pop(id) == max(hit.probability for hit in other)
    assert chances.keys() == {hit.id for hit in one}
    differ = [abs(hit.probability - chances[hit.id]) for hit in one]
    assert max(differ) < 0.02, (engine.store.catalogue.photo(id).file, stages)


@pytest.mark.parametrize("stages", SEARCHES)
def test_both_get_the_same_answer(pairs, engine, stages):
    for known, upload in pairs:
        same_answers(engine, known, upload, stages)


@pytest.mark.parametrize("stages", VERIFIED)
def test_both_get_the_same_answer_with_their_points(pairs, engine, stages):
    """Points are computed from keypoints, which are the same: some photos are enough."""
    for known, upload in pairs[::7]:
        same_answers(engine, known, upload, stages)
