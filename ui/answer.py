"""The answer to what the visitor asks: from what is known already at once, else in a turn."""

from __future__ import annotations

from dataclasses import dataclass

from extractor import BadPhoto, Region
from search import PreparedQuery, SearchResult
from serving import searches
from serving.galleries import Gallery

from .results import Pane
from .stages import OFF, Stages
from .subject import Subject, keep, kept_query, prepare, read_upload
from .turns import in_turn


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        query: as it was asked.
        result: the hits.
        problem: a sentence if something else was searched with than was asked for.
    """

    query: PreparedQuery
    result: SearchResult
    problem: str = ""


def ask(
    gallery: Gallery,
    subject: Subject,
    region: Region | None,
    rerank: str | None,
    verify: str | None,
    k: int,
) -> Answer:
    """Search with the subject, or with a part of it.

    The whole photo is searched with, and a sentence says so, if its part cannot be looked at.

    Raises:
        Refused: it is not this visitor's turn, and will not be soon.
    """
    query = kept_query(gallery, subject, region)
    if query is not None:
        result = searches.recall(gallery, query, rerank, verify, k, "page")
        if result is not None:
            return Answer(query, result)

    def work() -> Answer:
        asked = prepare(gallery, subject, region) if query is None else query
        return Answer(asked, searches.search(gallery, asked, rerank, verify, k, "page"))

    try:
        answer = in_turn(work)
    except (OSError, BadPhoto):
        # Only a part of a gallery photo is described anew, from its file.
        problem = "The file of this photo has changed or is gone: the whole photo is searched with."
        whole = ask(gallery, subject, None, rerank, verify, k)
        return Answer(whole.query, whole.result, problem)
    keep(gallery, subject, region, answer.query)
    return answer


def ask_with_upload(
    gallery: Gallery, data: bytes, name: str, asked: Stages, k: int
) -> tuple[Subject, Answer]:
    """Decode an upload and search with it, in one turn.

    Raises:
        Refused: as `ask`.
        BadPhoto: it cannot be searched with.
    """

    def work() -> tuple[Subject, Answer]:
        subject, query = read_upload(gallery, data, name)
        result = searches.search(gallery, query, asked.rerank, asked.verify, k, "page")
        return subject, Answer(query, result)

    return in_turn(work, "Looking at your photo…")


def compared_with(
    galleries: dict[str, Gallery], subject: Subject, region: Region | None, asked: Stages, k: int
) -> Pane:
    """What the answer is compared with: the same descriptor without reranking, or another one.

    Raises Refused as `ask`.
    """
    if asked.against == OFF:
        gallery = galleries[asked.descriptor]
        answer = ask(gallery, subject, region, None, None, k)
        return Pane(OFF, gallery.engine.store, answer.result)
    gallery = galleries[asked.against]
    answer = ask(gallery, subject, region, asked.rerank, asked.verify, k)
    name = f"{asked.against}: {asked.stages}"
    return Pane(name, gallery.engine.store, answer.result)
