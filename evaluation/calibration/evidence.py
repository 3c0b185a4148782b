"""Training data of `evaluation fit`: evidence for every photo of labelled galleries as a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from search.fusion import log_odds
from search.fusion.fit import Samples
from search.fusion.log_odds import Evidence

from .labelled_galleries import LabelledGallery

# Weight of a part in the regression, relative to a whole store. The regression determines the
# order, which matters where there are many photos. The calibration weighs both alike.
PART_WEIGHT = 0.1
VIEWS = 2.0  # maximum total weight of a query's relevant photos in the calibration

Setting = tuple[str | None, str | None]
Progress = Callable[[Sequence], Iterable]


def evidence_of(
    gallery: LabelledGallery, id: int, setting: Setting
) -> tuple[np.ndarray, Evidence, bool]:
    """Search with one photo of a gallery. The fit uses engines only through this function.

    Args:
        gallery: gallery to search.
        id: id of the photo, which is excluded from its own result.
        setting: names of the reranker and the matcher, None for none.

    Returns:
        Ids (n,) in global order, the evidence for each, and whether a reranker started from
        verified photos.
    """
    rerank, verify = setting
    engine, query = gallery.engine, gallery.query(id)
    if rerank != log_odds.PAIR:
        return engine.evidence(query, *setting)
    ids, evidence, any_verified = engine.evidence(query, None, verify)
    return ids, replace(evidence, details=None), any_verified


def collect(
    galleries: Sequence[LabelledGallery], setting: Setting, progress: Progress = iter
) -> Samples:
    """Collect the candidates of every photo of every gallery.

    All groups have the same weight, however many photos they have. Photos without a group have
    nothing to find. They count only for the calibration, with the same total weight as all groups.

    Args:
        galleries: output of `galleries_of`.
        setting: names of the reranker and the matcher, None for none.
        progress: wraps the list of queries.
    """
    queries = [(gallery, query) for gallery in galleries for query in queries_of(gallery)]
    return Samples.together(
        samples_of(gallery, query, setting) for gallery, query in progress(queries)
    )


class LabelledQuery(NamedTuple):
    """A photo of a labelled gallery as a query.

    Attributes:
        id: id of the photo.
        group: its group, with which it is held out.
        share: weight of the query.
        has_answer: whether there is anything to find.
    """

    id: int
    group: int
    share: float
    has_answer: bool


def queries_of(gallery: LabelledGallery) -> list[LabelledQuery]:
    """All photos of a gallery as queries."""
    pairs = [members for members in gallery.groups if len(members) > 1]
    group_of = {id: group for group, members in enumerate(gallery.groups) for id in members}
    singletons = len(gallery) - sum(map(len, pairs))
    queries = []
    for id in range(len(gallery)):
        # Photos without a group are held out with the groups, spread evenly over them.
        group = group_of.get(id, id % len(gallery.groups))
        size = len(gallery.groups[group]) if id in group_of else 0
        share = gallery.share / (size * len(pairs) if size > 1 else singletons)
        queries.append(LabelledQuery(id, group, share, size > 1))
    return queries


def samples_of(gallery: LabelledGallery, query: LabelledQuery, setting: Setting) -> Samples:
    """The candidates of one query, see `collect`."""
    ids, evidence, any_verified = evidence_of(gallery, query.id, setting)
    names = log_odds.feature_names(setting[1] is not None, evidence.details is not None)
    mode = log_odds.mode(*setting, any_verified)
    return labelled(gallery, query, ids, log_odds.features(evidence, names), mode)


def labelled(
    gallery: LabelledGallery, query: LabelledQuery, ids: np.ndarray, features: np.ndarray, mode: str
) -> Samples:
    """The photos that a query found, as samples.

    Args:
        gallery: gallery that was searched.
        query: the query.
        ids: photos that it found, best first, int (n,).
        features, mode: see `Samples`; features (n, F).
    """
    n = len(ids)
    relevant = np.isin(ids, gallery.groups[query.group]) & query.has_answer
    in_order = 1.0 if gallery.is_whole else PART_WEIGHT
    views = np.where(relevant, min(1, VIEWS / max(1, relevant.sum())), 1)
    return Samples(
        features=features,
        mode=np.full(n, mode),
        relevant=relevant,
        weight=np.full(n, query.share * in_order / n if query.has_answer else 0.0),
        prior=query.share / n * views,
        query=np.full(n, gallery.offset + query.id),
        group=np.full(n, gallery.first_group + query.group),
        photos=np.full(n, len(gallery)),
    )
