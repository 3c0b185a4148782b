"""Photos that the matching graph moved in a ranking, each with the photo that moved it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from search import Hit
from search.stages.graph import GRAPH


@dataclass(frozen=True)
class Move:
    """A photo that the matching graph moved.

    Attributes:
        id: gallery id.
        before: rank before the graph, from 1; None if only its chain made it a candidate.
        after: rank after it.
        because: id of the photo that contradicts it, or that precedes it on its chain.
    """

    id: int
    before: int | None
    after: int
    because: int


@dataclass(frozen=True)
class Moves:
    """Moves among the first ranks.

    Attributes:
        fell: photos with a contradiction that were among the first and lost ranks, by their rank
            before.
        rose: photos with a chain that are among the first and gained ranks, by their rank after;
            without weak hits, whose chains are guesses.
    """

    fell: list[Move]
    rose: list[Move]


def graph_moves(hits: Sequence[Hit], stage: str, first: int) -> Moves:
    """What the matching graph moved, and why.

    Args:
        hits: hits of one search, best first; more than `first`, so that photos that fell are among
            them.
        stage: name of the stage before the graph.
        first: number of ranks regarded.
    """
    fell, rose = [], []
    for hit in hits:
        before, after = hit.stage_ranks.get(stage), hit.stage_ranks[GRAPH]
        if hit.contradicted_by and before and before <= first and before < after:
            fell.append(Move(hit.id, before, after, hit.contradicted_by.id))
        if hit.chain and not hit.is_weak and after <= first and (not before or after < before):
            rose.append(Move(hit.id, before, after, hit.chain[-2].id))
    return Moves(sorted(fell, key=attrgetter("before")), rose)
