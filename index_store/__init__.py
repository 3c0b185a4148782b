"""Everything prebuilt and on disk: build a store from a folder of photos, open it, read it."""

from .ann import candidate_ids
from .builder import CANDIDATES, build
from .catalogue import Catalogue, Photo, Skipped
from .errors import (
    NothingToIndex,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreMismatch,
    StoreMissing,
    StoreUnwritable,
)
from .generation import current_version
from .manifest import Manifest
from .store import Store, model_of

__all__ = [
    "CANDIDATES",
    "Catalogue",
    "Manifest",
    "NothingToIndex",
    "Photo",
    "Skipped",
    "Store",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreMismatch",
    "StoreMissing",
    "StoreUnwritable",
    "build",
    "current_version",
    "model_of",
    "candidate_ids",
]
