"""Is a gallery ready? A query of it by itself finds itself."""

from __future__ import annotations

import numpy as np

from extractor import decode
from index_store import CANDIDATES, candidate_ids

from .galleries import Gallery

PROBE = 0  # the photo that must find itself; every gallery has it
TIE = 0.01  # of a cosine: another copy of the same photo is as good
ROUGH_TIE = 0.2  # the thumbnail is smaller than the photo


def finds_itself(gallery: Gallery) -> bool:
    """With a photo's stored descriptor; the first time with its picture too, through the model."""
    if not gallery.once(found_by_picture):
        return False
    stored = gallery.engine.store.descriptors[PROBE].astype(np.float32)
    return is_nearest(gallery, stored, TIE)


def found_by_picture(gallery: Gallery) -> bool:
    """Whether the model describes a thumbnail as the gallery knows the photo."""
    engine = gallery.engine
    pixels = decode(engine.store.thumbnail(PROBE), engine.store.as_stored)
    return is_nearest(gallery, engine.extractor.describe([pixels])[0], ROUGH_TIE)


def is_nearest(gallery: Gallery, descriptor: np.ndarray, tie: float) -> bool:
    """Whether the index proposes PROBE for a descriptor (D,), and no photo is nearer by a tie."""
    store = gallery.engine.store
    ids = candidate_ids(store.index, descriptor, CANDIDATES)
    cosines = store.descriptors[ids].astype(np.float32) @ descriptor
    own = cosines[ids == PROBE]
    return len(own) == 1 and bool(own[0] >= cosines.max() - tie)
