"""The hits of an answer, as grids of tiles, and what is said beside them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from search import Hit

from ..i18n.translate import tr, tr_known
from ..state.actions import show_weaker
from ..state.answer import Answer, kept_query, recall
from ..state.options import ChosenOptions
from ..state.question import Question, show_more
from .compare import moved_by, overlap, ranks_of, reasons
from .results import Pane, pane, results_grid, two_panes

GRIDS = ("results", "weak-results")  # keys: of the hits, and of the weaker ones


def draw(
    question: Question, chosen: ChosenOptions, answer: Answer, other: Answer | None, k: int
) -> list:
    """Draw the hits.

    Args:
        question: that was asked.
        chosen: how it was to be answered.
        answer: one hit more than is shown, if there are more.
        other: what it is compared with, if anything.
        k: how many hits are shown.

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
        panes = two_panes(
            Pane(other.options.name(answer.options), other.gallery.engine.store, other.result),
            Pane(answer.options.name(other.options), engine.store, result),
        )
        grids = [grid(panes, GRIDS[0], answer)]
    else:
        before = None
        if question.more or question.less:
            before = without_feedback(answer, question, k)
            st.caption(moved_by(question, before, result.hits))
        reason_by_file = reasons(engine, answer.query, question, result.hits)
        grids, more = folded_results(answer, more, before and ranks_of(before), reason_by_file)
    if more:
        st.button(tr("Show more"), on_click=show_more, width="stretch")
    return grids


def without_feedback(answer: Answer, question: Question, k: int) -> list[Hit] | None:
    """The hits before anything was said of them, if they are at hand."""
    query = kept_query(answer.gallery, question.without_feedback, answer.options.matchers)
    recalled = None if query is None else recall(answer.gallery, query, answer.options, k)
    return None if recalled is None else recalled.result.hits


def folded_results(
    answer: Answer,
    more: bool,
    before: dict[str, int] | None,
    reason_by_file: dict[str, str],
) -> tuple[list, bool]:
    """Draw the hits, the weaker ones only when asked for.

    Args:
        answer: its hits are shown.
        more: whether there are others.
        before: file -> rank before anything was said of hits, None if nothing was.
        reason_by_file: file -> what there is to say of its place.

    Returns:
        The drawn grids, and whether there is more to show in them.
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
    """Draw panes, and keep what was drawn, for a moment when nothing can be searched.

    Args:
        panes: of `pane` or `two_panes`.
        key: of the grid, one of GRIDS; with the first one an answer begins.
        answer: they show.
    """
    drawn = [] if key == GRIDS[0] else st.session_state.get("drawn", [])
    st.session_state.drawn = [*drawn, (panes, key)]
    return results_grid(panes, key, feedback=len(panes) == 1, busy=answer.provisional)


def redraw() -> list:
    """The hits that were drawn last; none if the subject is new."""
    drawn = st.session_state.get("drawn", [])
    return [results_grid(panes, key, feedback=len(panes) == 1) for panes, key in drawn]
