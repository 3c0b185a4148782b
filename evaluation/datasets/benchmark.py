"""A data set as a benchmark: gallery, queries, and the right photos for each query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extractor import Region
from plurals import quantity

from ..metrics import without

Metric = Callable[[Sequence[str], Collection[str]], float]
Values = dict[str, dict[str, float]]
"""Setup -> metric -> value for one query."""


ALL = "all queries"  # setup of protocols with a single one


class BadDataset(Exception):
    """The data set cannot be used. The message is a sentence on where to get what is missing."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of one query.

    Attributes:
        positives: gallery files that are right.
        ignored: gallery files that are neither right nor wrong, and are removed from the ranking.
    """

    positives: frozenset[str]
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        name: name, unique in the benchmark.
        photo: file of the photo.
        truths: ground truth by setup.
        group: queries are averaged by group before groups are, and a bootstrap draws whole groups.
        own: the query's own gallery file, if the protocol excludes it from the results. None if the
            photo is not in the gallery, or is there and counts as found.
        region: part of the photo to search with, None for the whole photo.
    """

    name: str
    photo: Path
    truths: dict[str, Truth]
    group: str
    own: str | None = None
    region: Region | None = None


@dataclass(frozen=True)
class Benchmark:
    """Gallery, queries and ground truth.

    Attributes:
        name: name of the data set.
        root: folder of the photos.
        gallery: all searched files in it, with forward slashes, sorted.
        queries: the queries.
        setups: names of the setups, in the order of tables.
        main: setup for pictures and single numbers.
        metrics: metrics of every setup, the leading one first.
        notes: sentences on differences from the published data set.
        published: whether published figures exist. Then photos are decoded as the published code
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
        """All metrics, in every setup in which the query has positives.

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


def need(path: Path, description: str, url: str) -> Path:
    """The path, which must exist. Raises BadDataset with what it is and where to get it."""
    if not path.exists():
        raise BadDataset(f"{path} is missing: {description}. Get it from {url}")
    return path


def published_benchmark(
    name: str,
    root: Path,
    gallery: Iterable[str],
    queries: list[Query],
    metrics: dict[str, Metric],
    counts: tuple[int, int],
) -> Benchmark:
    """A published data set with one setup. counts: (gallery photos, queries) as published."""
    files = sorted(gallery)
    notes = expect((len(files), len(queries)), counts)
    return Benchmark(name, root, files, queries, (ALL,), ALL, metrics, notes, published=True)


def expect(found: tuple[int, int], published: tuple[int, int]) -> list[str]:
    """A note if the counts (gallery photos, queries) differ from the published data set."""
    if found == published:
        return []
    return [
        f"Not the published data set: {quantity(found[0], 'gallery photo')} and "
        f"{quantity(found[1], 'query', 'queries')}; the published one has {published[0]} and "
        f"{published[1]}."
    ]
