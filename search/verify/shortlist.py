"""Third stage: compare the best photos with the query by keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from extractor import LocalFeatures
from matching.pool import on_all_cores
from matching.verification import Verification
from plurals import quantity

from ..query import PreparedQuery, QueryPhoto
from ..ranking import Ranking, Verified
from ..stopwatch import Stopwatch
from .matcher import UNREADABLE, Matcher

# Maximum photos whose evidence a query caches: several shortlists, and photos compared singly.
MAX_CACHED = 1000
# After its matcher's first photos, a search compares STEP more until some match, but none of the
# last STEP. The matching graph finds most of the others (docs/RESULTS.md).
STEP = 5


def verify_in_steps(
    query: PreparedQuery,
    best: Sequence[int],
    name: str,
    matcher: Matcher,
    watch: Stopwatch,
    cached_only: bool = False,
) -> Verified | None:
    """Evidence for the best photos, in steps until one proves nothing more.

    Only these count: photos that another search or the match viewer has compared must not change
    this result. But their evidence is not computed again.

    Args:
        query: receives the new evidence.
        best: ids of the photos to compare, the most promising first.
        name: name of the matcher.
        matcher: the matcher.
        watch: records the stage `name` if any photo had to be compared.
        cached_only: whether to return None if a photo would have to be compared.

    Returns:
        The evidence for the photos of all steps, or None.

    Raises:
        ValueError: an upload was prepared without this matcher's keypoints.
    """
    compared = min(matcher.first, len(best))
    while True:
        photos = best[:compared]
        if cached_only and not query.verifications[name].keys() >= set(photos):
            return None
        verified = verify_photos(query, photos, name, matcher, watch)
        passes = [verified.passes(id) for id in photos]
        if compared == len(best) or (any(passes) and not any(passes[-STEP:])):
            return verified
        compared = min(compared + STEP, len(best))


def verify_photos(
    query: PreparedQuery, ids: Sequence[int], name: str, matcher: Matcher, watch: Stopwatch
) -> Verified:
    """Evidence for these gallery photos. See `verify_in_steps` for other arguments and errors."""
    known = query.verifications[name]
    before = known.copy()  # other searches with this query may add and evict entries
    todo = [id for id in ids if id not in before]
    if todo:
        with watch.stage(name):
            keypoints = [query_keypoints(photo, name, matcher) for photo in query.examples]
            if all(features is None for features in keypoints):
                note = "Nothing could be verified: the file of the query has changed or is gone."
                return Verified({}, matcher.floor, (note,))
            fresh = match_all(keypoints, todo, matcher)
            keep(fresh, known)
            before |= fresh
    found = {id: before[id] for id in ids}
    return Verified(found, matcher.floor, notes_on(found))


def notes_on(found: Mapping[int, Verification | None]) -> tuple[str, ...]:
    """A sentence about the photos that could not be read, if there are any."""
    unread = sum(evidence is None for evidence in found.values())
    if not unread:
        return ()
    return (f"{quantity(unread, 'photo')} could not be verified: changed or missing on disk.",)


def shortlist(ranking: Ranking, matcher: Matcher) -> list[int]:
    """Gallery ids of the photos to compare."""
    return [int(id) for id in ranking.ids[: matcher.shortlist]]


def keep(fresh: dict[int, Verification | None], known: dict[int, Verification | None]) -> None:
    """Cache new evidence in a query, and evict the oldest beyond MAX_CACHED."""
    known.update(fresh)
    for id in list(known)[: max(0, len(known) - MAX_CACHED)]:
        known.pop(id, None)


def match_all(
    keypoints: Sequence[LocalFeatures | None], ids: Sequence[int], matcher: Matcher
) -> dict[int, Verification | None]:
    """Match each photo of a query with each of some gallery photos; the best evidence wins.

    Args:
        keypoints: keypoints of the query's photos, None for one that could not be read.
        ids: gallery photos.
        matcher: the matcher.

    Returns:
        Gallery id -> evidence of the query's photo with the most matched points, None for a gallery
        photo that could not be read.
    """
    found: dict[int, Verification | None] = dict.fromkeys(ids)
    features = zip(ids, gallery_features(ids, matcher))
    hits = {id: one for id, one in features if one is not None}
    for number, of_query in enumerate(keypoints):
        if of_query is None or not hits:
            continue
        for id, evidence in zip(hits, matcher.verify_many(of_query, list(hits.values()))):
            before = found[id]
            if before is None or evidence.inliers > before.inliers:
                found[id] = replace(evidence, photo=number)
    return found


def gallery_features(ids: Sequence[int], matcher: Matcher) -> list[LocalFeatures | None]:
    """Keypoints of gallery photos, None for each that cannot be read."""

    def find(id: int) -> LocalFeatures | None:
        try:
            return matcher.gallery_features(id)
        except UNREADABLE:
            return None

    return on_all_cores(find, ids)


def match_photos(
    query: PreparedQuery, other: QueryPhoto, name: str, matcher: Matcher
) -> Verification | None:
    """Match a query with a photo that need not be in the gallery.

    Args:
        query: the query; each of its photos is tried, the best evidence wins.
        other: photo with keypoints, or in the gallery.
        name: name of the matcher.
        matcher: the matcher.

    Returns:
        The evidence, None if one of the two could not be read.
    """
    if other.id is None:
        features = other.keypoints[name]
    else:
        try:
            features = matcher.gallery_features(other.id)
        except UNREADABLE:
            return None
    best: Verification | None = None
    for number, photo in enumerate(query.examples):
        of_query = query_keypoints(photo, name, matcher)
        if of_query is None:
            continue
        [found] = matcher.verify_many(of_query, [features])
        if best is None or found.inliers > best.inliers:
            best = replace(found, photo=number)
    return best


def query_keypoints(photo: QueryPhoto, name: str, matcher: Matcher) -> LocalFeatures | None:
    """Keypoints of a query's photo; None if its gallery file is missing or has changed."""

    if name not in photo.keypoints:
        if photo.id is None:
            raise ValueError(
                f"The query was prepared without keypoints for {name}: "
                f"prepare(photo, matchers=({name!r},)) finds them."
            )
        try:
            features = matcher.query_features(photo.id)
        except UNREADABLE:
            return None
        inside = features if photo.region is None else features.inside(photo.region)
        photo.keypoints[name] = inside
    return photo.keypoints[name]
