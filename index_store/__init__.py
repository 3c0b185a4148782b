"""Persistent store: build one from folders of photos, open it, read it."""

from .analysis.duplicates import duplicates
from .ann.nearest import candidate_ids
from .ann.presets import PRESETS
from .ann.remote.push import push, use_own_index
from .builder import CANDIDATES, build
from .changes import add, remove, update
from .engine_choice import engine_of
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
from .storage.catalogue import Catalogue, Photo, Skipped
from .storage.compaction import compact
from .storage.compatibility import model_of
from .storage.generation import current_version
from .storage.integrity import verify
from .storage.keypoint_cache import KeypointCache
from .storage.manifest import Manifest
from .store import Store
