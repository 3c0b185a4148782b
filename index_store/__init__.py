"""Everything prebuilt and on disk: build a store from a folder of photos, open it, read it."""

from .ann import candidate_ids
from .builder import CANDIDATES, build
from .catalogue import Catalogue, Photo, Skipped
from .changes import add, remove, update
from .compaction import compact
from .duplicates import duplicates
from .errors import (
    BadAbout,
    BadList,
    BadPatterns,
    IndexUnavailable,
    NothingToIndex,
    PhotosDamaged,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreMismatch,
    StoreMissing,
    StoreUnwritable,
    TooMuchGone,
    UnknownPhoto,
)
from .generation import current_version
from .integrity import verify
from .keypoint_cache import KeypointCache
from .manifest import Manifest
from .presets import PRESETS
from .push import push, take_back
from .store import Store, model_of

__all__ = [
    "CANDIDATES",
    "PRESETS",
    "BadAbout",
    "BadList",
    "BadPatterns",
    "Catalogue",
    "IndexUnavailable",
    "KeypointCache",
    "Manifest",
    "NothingToIndex",
    "Photo",
    "PhotosDamaged",
    "Skipped",
    "Store",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreMismatch",
    "StoreMissing",
    "StoreUnwritable",
    "TooMuchGone",
    "UnknownPhoto",
    "add",
    "build",
    "compact",
    "current_version",
    "duplicates",
    "model_of",
    "push",
    "remove",
    "candidate_ids",
    "take_back",
    "update",
    "verify",
]
