"""A data set as a benchmark: gallery, queries, and for each query what is right."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extractor import Region
from plurals import quantity

from ..metrics import without

Metric = Callable[[Sequence[str], Collection[str]], float]
Values = dict[str, dict[str, float]]
"""Setup -> metric -> value of one query."""


ALL = "all queries"  # the setup of protocols that have only one


class BadDataset(Exception):
    """The data set cannot be used. The message, a sentence, says where to get what is missing."""


@dataclass(frozen=True)
class Truth:
    """What one query should find.

    Attributes:
        positives: gallery files that are right.
        ignored: gallery files that are neither right nor wrong, and are taken out of the ranking.
    """

    positives: frozenset[str]
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        name: unique in its benchmark.
        photo: its file.
        truths: by setup.
        group: queries of one group are averaged before groups are, and a bootstrap draws them
            together.
        own: the gallery file that it is, if the protocol leaves the query's own photo out of its
            results. None if the photo is not in the gallery, or is there and counts as found.
        region: the part of the photo that is asked, None for all of it.
    """

    name: str
    photo: Path
    truths: dict[str, Truth]
    group: str
    own: str | None = None
    region: Region | None = None


@dataclass(frozen=True)
class Benchmark:
    """Photos to search, questions, and what is right.

    Attributes:
        name: of the data set.
        root: folder of the photos.
        gallery: files below it with forward slashes, sorted: all that is searched, and no more.
        queries: the questions.
        setups: names, in the order of tables.
        main: the setup that pictures and single numbers are of.
        metrics: of every setup, the leading one first.
        notes: sentences on what differs from the published data set.
        published: whether figures of others exist. Then photos are decoded as the published code
            does (see `extractor.photo.decode`), and each query ranks the whole gallery exactly.
    """

    name: str
    root: Path
    gallery: list[str]
    queries: list[Query]
    setups: tuple[str, ...]
    main: str
    metrics: dict[str, Metric]
    notes: list[str] = field(default_factory=list)
    published: bool = False

    def judge(self, query: Query, ranking: Sequence[str]) -> Values:
        """Every metric, in every setup in which the query has positives.

        Args:
            query: one of `queries`.
            ranking: gallery files, best first.
        """
        values = {}
        for setup, truth in query.truths.items():
            if truth.positives:
                judged = without(ranking, truth.ignored | {query.own})
                values[setup] = {
                    name: metric(judged, truth.positives) for name, metric in self.metrics.items()
                }
        return values

    def verdict(self, query: Query, file: str) -> str:
        """ "relevant", "junk" or "irrelevant", in the main setup."""
        truth = query.truths[self.main]
        if file in truth.ignored or file == query.own:
            return "junk"
        return "relevant" if file in truth.positives else "irrelevant"

    def things(self) -> list[list[str]]:
        """Gallery files that show the same thing, for protocols that know all of them.

        Raises:
            BadDataset: the protocol does not sort its gallery into things.
        """
        things = {
            frozenset({query.own} | query.truths[self.main].positives) for query in self.queries
        }
        if any(query.own is None for query in self.queries) or len(
            frozenset().union(*things)
        ) < sum(map(len, things)):
            raise BadDataset(f"{self.name} does not sort its gallery into things.")
        return sorted(sorted(thing) for thing in things)


def need(path: Path, what: str, address: str) -> Path:
    """The path, which must exist. Raises BadDataset saying what it is and where to get it."""
    if not path.exists():
        raise BadDataset(f"{path} is missing: {what}. Get it from {address}")
    return path


def expect(found: tuple[int, int], published: tuple[int, int]) -> list[str]:
    """A note if (gallery photos, queries) are not those of the published data set."""
    if found == published:
        return []
    return [
        f"Not the published data set: {quantity(found[0], 'gallery photo')} and "
        f"{quantity(found[1], 'query', 'queries')}; the published one has {published[0]} and "
        f"{published[1]}."
    ]
