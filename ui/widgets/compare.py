"""Sentences that compare two answers."""

from __future__ import annotations

from collections.abc import Sequence

from search import Engine, Hit, PreparedQuery
from serving.galleries.about import about

from ..i18n.translate import number, tr
from ..state.question import Question

TOP = 10  # best hits compared


def overlap(before: Sequence[Hit], after: Sequence[Hit]) -> str:
    """Sentence on how many of the best hits two answers share."""
    first, second = ({hit.file for hit in hits[:TOP]} for hits in (before, after))
    count = min(TOP, max(len(before), len(after)))
    both = number(len(first & second))
    return tr("{both} of the top {most} {both:is|are} in both.", both=both, most=number(count))


def ranks_of(hits: Sequence[Hit]) -> dict[str, int]:
    """File -> rank from 1."""
    return {hit.file: rank for rank, hit in enumerate(hits, 1)}


def feedback_effect(question: Question, before: Sequence[Hit] | None, after: Sequence[Hit]) -> str:
    """Sentence on the effect of feedback.

    Args:
        question: the question with feedback.
        before: hits without feedback; None if they are not cached.
        after: hits with feedback.
    """
    more, less = number(len(question.more)), number(len(question.less))
    if not question.less:
        sentence = tr("Moved towards the photos you marked as right: {more}.", more=more)
    elif not question.more:
        sentence = tr("Moved away from the photos you marked as wrong: {less}.", less=less)
    else:
        sentence = tr(
            "Moved towards the photos you marked as right: {more}, and away from those you marked "
            "as wrong: {less}.",
            more=more,
            less=less,
        )
    if before is None:
        return sentence
    ranks = ranks_of(before)
    # Marked photos leave the answer. That the photos behind them move up does not count as rising.
    marked = sorted(ranks[file] for file in (*question.more, *question.less) if file in ranks)
    steps = []
    for rank, hit in enumerate(after, 1):
        former = ranks.get(hit.file)
        steps.append(None if former is None else former - sum(g < former for g in marked) - rank)
    rose = sum(step is not None and step > 0 for step in steps)
    fell = sum(step is not None and step < 0 for step in steps)
    effect = tr(
        "{rose} {rose:photo|photos} rose, {fell} fell, {new} {new:is|are} new here.",
        rose=number(rose),
        fell=number(fell),
        new=number(steps.count(None)),
    )
    return f"{sentence} {effect}"


def similarity_parts(
    engine: Engine, query: PreparedQuery, question: Question, hits: Sequence[Hit]
) -> dict[str, str]:
    """File -> phrase on what contributed to the hit's similarity; empty without feedback."""
    if not hits or not (question.more or question.less):
        return {}
    titles = [
        about(engine.store).title(file, engine.store.catalogue.find(file).title)
        for file in (*question.more, *question.less)
    ]
    parts = engine.contributions(query, [hit.id for hit in hits])
    return {
        hit.file: tr("; of that {own} from the query", own=number(from_query, 2))
        + "".join(
            tr(", {part} from {title}", part=number(part, 2), title=title)
            for part, title in zip(from_marked, titles)
        )
        for hit, (from_query, *from_marked) in zip(hits, parts)
    }
