"""Prepare a query: decode and describe its photos, find candidates. Pixels are not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from extractor import Decoded, Extractor, Region, owner_limits, read
from index_store import Store

from .query import PreparedQuery, QueryPhoto
from .ranking import scale
from .stages.candidates import find_candidates
from .stages.feedback import NO_FEEDBACK, Feedback
from .stopwatch import Stopwatch
from .verify.matcher import Matcher

KEYPOINTS = "keypoints"  # the stage that detects keypoints
Source = bytes | np.ndarray | Decoded | int | QueryPhoto
"""A photo to search with: bytes of a file, decoded pixels uint8 RGB (H, W, 3), the output of
`read`, a gallery id, or a photo of another query by the same model."""


def read_photo(
    source: Source,
    region: Region | None,
    matchers: Mapping[str, Matcher],
    store: Store,
    extractor: Extractor,
    watch: Stopwatch,
) -> QueryPhoto:
    """Describe one photo.

    Args:
        source: photo to search with. The descriptor of a whole gallery photo is in the store.
        region: part of the photo to search with, as fractions; None for the whole photo.
        matchers: matchers by name whose keypoints are detected in an upload now, because its pixels
            are not kept. Keypoints of a gallery photo are loaded on demand.
        store: the gallery.
        extractor: extractor that describes photos.
        watch: records the stages "decode", "describe" and "keypoints".

    Raises:
        BadPhoto: bytes that are not a usable photo.
        KeyError: an unknown id.
        TypeError, ValueError: not a Source, or a region that is empty or outside.
        OSError, BadPhoto: a region of a gallery photo whose file is missing or has changed.
    """
    if isinstance(source, QueryPhoto):
        return source
    note = ""
    if isinstance(source, Decoded):
        source, note = source
    check_source(source)
    known = None if isinstance(source, bytes | np.ndarray) else store.catalogue.served(int(source))
    if known is not None and region is None:
        return QueryPhoto(store.descriptors[known.id].astype(np.float32), known.id, known.file)
    if isinstance(source, np.ndarray):
        pixels = source
    else:
        with watch.stage("decode"):
            if known is None:
                pixels, note = read(source, store.as_stored, limits=owner_limits())
            else:
                pixels = store.pixels(known.id)
    with watch.stage("describe"):
        descriptor = extractor.describe([pixels], [region])[0]
    if known is not None:
        return QueryPhoto(descriptor, known.id, known.file, region=region)
    keypoints = {}
    for name, matcher in matchers.items():
        with watch.stage(KEYPOINTS):
            found = matcher.features(pixels)
            keypoints[name] = found if region is None else found.inside(region)
    return QueryPhoto(descriptor, keypoints=keypoints, region=region, note=note)


def check_source(source: object) -> None:
    """Raise TypeError or ValueError with a sentence unless the object is a Source."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ValueError(
                "Pixels must be uint8 of shape (H, W, 3), "
                f"not {source.dtype} of shape {source.shape}."
            )
    elif not isinstance(source, bytes | int | np.integer):
        raise TypeError(
            "A photo is a file's bytes, decoded pixels or a gallery id, "
            f"not a {type(source).__name__}."
        )


def mean_descriptor(descriptors: Sequence[np.ndarray]) -> np.ndarray:
    """One descriptor for several photos of one thing: their plain mean, at unit length.

    Weights by mutual similarity, or by how far each photo's best candidate stands out, do not
    improve on it: `python -m evaluation several` measures them.

    Args:
        descriptors: unit vectors float32, each (D,).

    Returns:
        Unit vector float32 (D,). A single descriptor is returned unchanged.
    """
    if len(descriptors) == 1:
        return descriptors[0]
    mean = np.mean(descriptors, axis=0)
    return mean / np.linalg.norm(mean)


def propose(
    photos: Sequence[QueryPhoto],
    region: Region | None,
    store: Store,
    model: str,
    watch: Stopwatch,
    feedback: Feedback = NO_FEEDBACK,
) -> PreparedQuery:
    """Build a query from described photos: one descriptor, and its candidates in the gallery.

    Args:
        photos: output of `read_photo`.
        region: part of the photos to search with.
        store: the gallery.
        model: fingerprint of the model that described them.
        watch: records the stage "index"; the query keeps the times of all stages so far.
        feedback: relevance feedback on gallery photos.
    """
    descriptor = feedback.move(mean_descriptor([photo.descriptor for photo in photos]))
    with watch.stage("index"):
        candidates, copy_ids = find_candidates(store, descriptor, photos, feedback.ids)
    others = ~np.isin(candidates.ids, copy_ids)  # copies say nothing about other photos
    query = PreparedQuery(
        photos=tuple(photos),
        region=region,
        descriptor=descriptor,
        model=model,
        generation=store.version,
        candidates=candidates,
        copy_ids=copy_ids,
        scale=scale(candidates.similarity[others], len(store)),
        feedback=feedback,
    )
    for stage, ms in watch.ms.items():
        query.spend(stage, ms)
    return query
