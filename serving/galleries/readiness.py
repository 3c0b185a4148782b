"""Is a gallery ready? A query of it by itself finds itself."""

from __future__ import annotations

import numpy as np

from extractor import decode
from index_store import CANDIDATES, Store, candidate_ids

from .galleries import Gallery

TIE = 0.01  # of a cosine: another copy of the same photo is as good
ROUGH_TIE = 0.2  # the thumbnail is smaller than the photo


def finds_itself(gallery: Gallery) -> bool:
    """With a photo's stored descriptor; the first time with its picture too, through the model."""
    if not gallery.once(found_by_picture):
        return False
    store = gallery.engine.store
    return is_nearest(gallery, store.descriptors[probe(store)].astype(np.float32), TIE)


def probe(store: Store) -> int:
    """The photo that must find itself: the first that is served."""
    return int(store.served_ids[0])


def found_by_picture(gallery: Gallery) -> bool:
    """Whether the model describes a thumbnail as the gallery knows the photo."""
    engine = gallery.engine
    pixels = decode(engine.store.thumbnail(probe(engine.store)), engine.store.as_stored)
    return is_nearest(gallery, engine.extractor.describe([pixels])[0], ROUGH_TIE)


def is_nearest(gallery: Gallery, descriptor: np.ndarray, tie: float) -> bool:
    """Whether the index proposes the probe for a descriptor (D,), none being nearer by a tie."""
    store = gallery.engine.store
    ids = candidate_ids(store.index, descriptor, CANDIDATES)
    cosines = store.descriptors[ids].astype(np.float32) @ descriptor
    own = cosines[ids == probe(store)]
    return len(own) == 1 and bool(own[0] >= cosines.max() - tie)
