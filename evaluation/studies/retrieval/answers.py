"""Search labelled galleries with their own photos, each prepared as a query once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from evaluation.calibration.evidence import LabelledQuery
from evaluation.calibration.labelled_galleries import LabelledGallery
from evaluation.metrics import average_precision
from search import Engine, Hit


def answers(
    gallery: LabelledGallery,
    engine: Engine,
    queries: Iterable[LabelledQuery],
    rerank: str | None,
    verify: str | None,
) -> Iterator[tuple[int, tuple[Hit, ...], float]]:
    """Search with all queries that have something to find.

    Args:
        gallery: the gallery.
        engine: its engine, or one that judges otherwise.
        queries: output of `queries_of`.
        rerank: name of a reranker, or None.
        verify: name of a matcher, or None.

    Yields:
        The query's group in the gallery, all hits, and their average precision.
    """
    for asked in queries:
        if not asked.has_answer:
            continue
        hits = engine.search(gallery.query(asked.id), rerank, verify, k=len(gallery)).hits
        right = set(gallery.groups[asked.group]) - {asked.id}
        yield asked.group, hits, average_precision([hit.id for hit in hits], right)
