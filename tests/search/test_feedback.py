"""Relevance feedback against a case worked by hand, and on the sample gallery."""

from __future__ import annotations

import numpy as np
import pytest

from search.query import QueryPhoto
from search.stages.feedback import NO_FEEDBACK, Feedback

LENGTH = np.sqrt(1 + 0.75**2 + 0.15**2)


def said(relevant: list, non_relevant: list) -> Feedback:
    first, second = (
        tuple(QueryPhoto(np.float32(row), id) for id, row in enumerate(rows))
        for rows in (relevant, non_relevant)
    )
    return Feedback(first, second)


def test_a_query_moves_as_worked_by_hand():
    feedback = said([[0, 1, 0]], [[0, 0, 1]])
    query = np.float32([1, 0, 0])
    np.testing.assert_allclose(feedback.move(query), np.array([1, 0.75, -0.15]) / LENGTH, rtol=1e-6)
    photos = np.float32([[0.6, 0.8, 0], [0, 0.6, 0.8]])
    parts = feedback.contributions(query, photos)
    by_hand = np.array([[0.6, 0.6, 0], [0, 0.45, -0.12]]) / LENGTH
    np.testing.assert_allclose(parts, by_hand, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(parts.sum(1), photos @ feedback.move(query), rtol=1e-6)


def test_several_photos_weigh_what_one_does():
    feedback = said([[0, 1, 0], [0, 0, 1]], [])
    by_hand = np.array([1, 0.375, 0.375]) / np.sqrt(1 + 2 * 0.375**2)
    np.testing.assert_allclose(feedback.move(np.float32([1, 0, 0])), by_hand, rtol=1e-6)


def test_nothing_said_moves_nothing():
    query = np.float32([0.6, 0.8, 0])
    np.testing.assert_allclose(NO_FEEDBACK.move(query), query, rtol=1e-6)
    opposite = said([[-1, 0, 0]] * 2, [[1, 0, 0]])
    assert np.isfinite(opposite.move(np.float32([1, 0, 0]))).all()


def test_the_answer_moves_and_knows_why(engine):
    find = engine.store.catalogue.find
    asked = engine.prepare(find("taj-mahal.jpg").id)
    before = engine.search(asked, "diffusion", "sift", k=24)
    right, wrong = find("taj-mahal-3.jpg").id, before.hits[3].id
    query = engine.refine(asked, [right], [wrong])
    after = engine.search(query, "diffusion", "sift", k=300)
    shown = [hit.id for hit in after.hits]
    assert not {right, wrong} & set(shown), "what was said of is no hit, reranked or not"
    ids = query.candidates.ids[:20]
    rows = engine.store.descriptors[ids].astype(np.float32)
    np.testing.assert_allclose(
        engine.contributions(query, ids).sum(1), rows @ query.descriptor, atol=1e-5
    )
    towards = rows @ engine.store.descriptors[right].astype(np.float32)
    assert (engine.contributions(query, ids)[:, 1] > 0).sum() == (towards > 0).sum()
    plain = engine.refine(query)
    again = engine.search(plain, "diffusion", "sift", k=24)
    assert [hit.id for hit in again.hits] == [hit.id for hit in before.hits], "it can be taken back"


def test_points_may_match_a_relevant_photo(engine):
    find = engine.store.catalogue.find
    query = engine.refine(engine.prepare(find("wine.jpg").id), [find("tour-eiffel.jpg").id])
    hit = engine.explain(query, find("eiffel-tower.jpg").id)
    assert hit.verified and hit.verification.photo == 1


def test_unknown_photos_and_other_generations_are_refused(engine):
    query = engine.prepare(3)
    with pytest.raises(KeyError):
        engine.refine(query, [10**6])
    assert engine.renew(engine.refine(query, [5], [7])).feedback.ids == [5, 7]
