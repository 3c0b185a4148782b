"""The hits of an answer as grids of tiles, with captions."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from search import Hit

from ..i18n.translate import tr, tr_known
from ..state.actions import show_weaker
from ..state.answer import Answer, cached_query, search_cached
from ..state.options import ChosenOptions
from ..state.question import Question, show_more
from .compare import feedback_effect, overlap, ranks_of, similarity_parts
from .results import pane, results_grid

GRIDS = ("results", "weak-results")  # keys of the grids of hits and of weaker hits


def draw(
    question: Question, chosen: ChosenOptions, answer: Answer, other: Answer | None, k: int
) -> list:
    """Draw the hits.

    Args:
        question: the question.
        chosen: the options chosen.
        answer: the answer, with one hit more than is shown if there are more.
        other: the answer to compare with; None without one.
        k: number of hits to show.

    Returns:
        The drawn grids.
    """
    engine, result = answer.gallery.engine, answer.result
    more = len(result.hits) > k
    result = replace(result, hits=result.hits[:k])
    answer = replace(answer, result=result)
    for note in result.notes:
        st.caption(tr_known(note))
    if not result.hits:
        st.info(tr("There is no other photo in the gallery."))
        return []
    if other is not None:
        st.caption(overlap(other.result.hits, result.hits))
        grids = [grid(two_panes(other, answer), GRIDS[0], answer)]
    else:
        before = None
        if question.more or question.less:
            before = without_feedback(answer, question, k)
            st.caption(feedback_effect(question, before, result.hits))
        reason_by_file = similarity_parts(engine, answer.query, question, result.hits)
        grids, more = folded_results(answer, more, before and ranks_of(before), reason_by_file)
    if more:
        st.button(tr("Show more"), on_click=show_more, width="stretch")
    return grids


def two_panes(before: Answer, after: Answer) -> list[dict]:
    """Two answers side by side; the hits of the second one show their movement."""
    ranks = ranks_of(before.result.hits)
    panes = []
    for answer, other, moved in ((before, after, None), (after, before, ranks)):
        store, result = answer.gallery.engine.store, answer.result
        ms = sum((result.reused_ms | result.timings_ms).values())
        name = answer.options.name(other.options)
        panes.append(pane(store, result.hits, name, moved, time=f"{ms:.0f} ms", folded=False))
    return panes


def without_feedback(answer: Answer, question: Question, k: int) -> list[Hit] | None:
    """The hits without feedback; None if they are not cached."""
    query = cached_query(answer.gallery, question.without_feedback, answer.options.matchers)
    cached = None if query is None else search_cached(answer.gallery, query, answer.options, k)
    return None if cached is None else cached.result.hits


def folded_results(
    answer: Answer, more: bool, before: dict[str, int] | None, reason_by_file: dict[str, str]
) -> tuple[list, bool]:
    """Draw the hits, and the weaker ones once the visitor has requested them.

    Args:
        answer: answer with the hits.
        more: whether there are more hits than these.
        before: file -> rank without feedback; None if there is no feedback.
        reason_by_file: file -> addition to the hit's details.

    Returns:
        The drawn grids, and whether to offer more hits.
    """
    store, result = answer.gallery.engine.store, answer.result
    if result.hits[0].confidence == "unsure":
        st.caption(tr("Nothing here is likely to be the same thing. These look most alike."))
        return [
            grid([pane(store, result.hits, "", before, reason_by_file)], GRIDS[0], answer)
        ], more
    strong = [hit for hit in result.hits if not hit.is_weak]
    weak = result.hits[len(strong) :]
    grids = [grid([pane(store, strong, "", before, reason_by_file)], GRIDS[0], answer)]
    if not weak:
        return grids, more
    if not st.session_state.get("weaker"):
        st.button(tr("Show weaker matches"), on_click=show_weaker, width="stretch")
        return grids, False
    # Weaker ones are ranked behind the strong ones.
    shifted = before and {file: rank - len(strong) for file, rank in before.items()}
    weaker = pane(store, weak, tr("Weaker matches"), shifted, reason_by_file)
    grids.append(grid([weaker], GRIDS[1], answer))
    return grids, more


def grid(panes: list[dict], key: str, answer: Answer) -> object:
    """Draw panes, and store them in the session for `redraw`.

    Args:
        panes: output of `pane` or `two_panes`.
        key: one of GRIDS; the first one starts a new answer.
        answer: the answer they show.
    """
    drawn = [] if key == GRIDS[0] else st.session_state.get("drawn", [])
    st.session_state.drawn = [*drawn, (panes, key)]
    return results_grid(panes, key, feedback=len(panes) == 1, busy=answer.provisional)


def redraw() -> list:
    """Draw the last answer again while the server refuses searches; nothing for a new query."""
    drawn = st.session_state.get("drawn", [])
    return [results_grid(panes, key, feedback=len(panes) == 1) for panes, key in drawn]
