"""All stages between the candidates of a query and the fusion of their evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from index_store import Store

from .fusion.apply import Fusion
from .methods import Methods
from .query import PreparedQuery
from .ranking import Ranking, Trusted
from .rerank.reranker import Reranker
from .stages.agreement import are_compared, compare
from .stages.details import DETAILS, PROPOSED, find_votes, most_promising, proposed
from .stopwatch import Stopwatch
from .verify.matcher import Matcher
from .verify.shortlist import shortlist, verify_in_steps


@dataclass(frozen=True)
class Ranked:
    """Result of all stages before fusion.

    Attributes:
        ranking: the ranking, with the evidence.
        trusted: photos that the reranker's second round started from, None if there was none.
        stages: gallery ids in the order after each stage, best first.
    """

    ranking: Ranking
    trusted: Trusted | None
    stages: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pipeline:
    """The stages of one store.

    Attributes:
        store: the gallery.
        fusion: judges which verified photos a reranker's second round starts from.
        rerankers, matchers: methods by name.
    """

    store: Store
    fusion: Fusion
    rerankers: Methods[Reranker]
    matchers: Methods[Matcher]

    def run(
        self,
        query: PreparedQuery,
        rerank: str | None,
        verify: str | None,
        watch: Stopwatch,
        cached_only: bool = False,
    ) -> Ranked | None:
        """Run all stages.

        Args:
            query: query prepared for this generation of the gallery.
            rerank: name of a reranker, or None to skip the stage.
            verify: name of a matcher, or None to skip the stage.
            watch: records the time of each stage.
            cached_only: whether to return None if photos would have to be compared.

        Raises:
            ValueError, BadModel: see `Engine.search`.
        """
        reranker = None if rerank is None else self.rerankers[rerank]
        matcher = None if verify is None else self.matchers[verify]
        votes, ranking, trusted = None, query.candidates, None
        stages = {"descriptor": ranking.ids}
        if matcher is not None:
            if cached_only and matcher.is_indexed and verify not in query.votes:
                return None
            votes = find_votes(query, verify, matcher, self.store, watch)
        if votes is not None:
            ranking = proposed(query, votes, self.store)
            stages[DETAILS] = votes.ids[:PROPOSED]
        _, ranking = ranking.parted(self.store.damaged)
        if reranker is not None:
            with watch.stage(rerank):
                ranking = reranker.rerank(query, ranking)
            stages[rerank] = ranking.ids
        if matcher is not None:
            if cached_only and not are_compared(query, verify):
                return None
            compare(query, verify, matcher, watch)
            promising = ranking if votes is None else most_promising(query, ranking, votes)
            best = shortlist(promising, matcher)
            verified = verify_in_steps(query, best, verify, matcher, watch, cached_only)
            if verified is None:
                return None
            ranking = replace(ranking, verified=verified)
        if reranker is not None and matcher is not None:
            with watch.stage(rerank):
                trusted = self.fusion.trusted(query, ranking, verify)
                ranking = reranker.rerank(query, ranking, trusted)
        return Ranked(ranking, trusted, stages)
