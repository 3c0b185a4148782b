"""Readiness check: a gallery photo must find itself."""

from __future__ import annotations

import numpy as np

from extractor import decode
from index_store import CANDIDATES, Store, candidate_ids

from .gallery import Gallery

TIE = 0.01  # of a cosine: another copy of the same photo may come first
ROUGH_TIE = 0.2  # the thumbnail is smaller than the photo


def finds_itself(gallery: Gallery) -> bool:
    """Search with a photo's stored descriptor; the first time also with its thumbnail."""
    if not gallery.once(found_by_picture):
        return False
    store = gallery.engine.store
    return is_nearest(gallery, store.descriptors[probe(store)].astype(np.float32), TIE)


def probe(store: Store) -> int:
    """Id of the photo that must find itself: the first served one."""
    return int(store.served_ids[0])


def found_by_picture(gallery: Gallery) -> bool:
    """Whether the model's descriptor of the thumbnail finds the photo."""
    engine = gallery.engine
    pixels = decode(engine.store.thumbnail(probe(engine.store)), engine.store.as_stored)
    return is_nearest(gallery, engine.extractor.describe([pixels])[0], ROUGH_TIE)


def is_nearest(gallery: Gallery, descriptor: np.ndarray, tie: float) -> bool:
    """Whether a search with a descriptor (D,) has the probe within `tie` of the best cosine."""
    store = gallery.engine.store
    ids = candidate_ids(store.index, descriptor, CANDIDATES)
    cosines = store.descriptors[ids].astype(np.float32) @ descriptor
    own_similarity = cosines[ids == probe(store)]
    return len(own_similarity) == 1 and bool(own_similarity[0] >= cosines.max() - tie)
