"""Store errors. Each message is a sentence that says what to do."""


class StoreError(Exception):
    """Base of all store errors."""


class StoreMissing(StoreError):
    """There is no finished store in this folder."""


class StoreCorrupt(StoreError):
    """A file of the store is damaged or missing."""


def unreadable(name: str, error: OSError) -> StoreCorrupt:
    """The error for a file of the store that cannot be read."""
    return StoreCorrupt(
        f"{name} cannot be read ({error.strerror or error}). Build the store again."
    )


class PhotosDamaged(StoreCorrupt):
    """The stored data of a few photos is damaged; the others are served.

    Attributes:
        ids: ids of these photos, in the generation that was verified. Empty if only removed photos
            are affected.
    """

    def __init__(self, message: str, ids: list[int]):
        super().__init__(message)
        self.ids = ids


class StoreMismatch(StoreError):
    """The store was built with another descriptor model, or by another version of this program."""


class StoreBusy(StoreError):
    """Another build is writing this store."""


class StoreUnwritable(StoreError):
    """The store's files cannot be written: the disk is full, or the store is not writable."""


class NothingToIndex(StoreError):
    """The folder holds no photo that can be indexed."""


class UnknownPhoto(StoreError):
    """The store has no such photo."""


class ClusterUnusable(StoreError):
    """The cluster that was to do the work cannot be reached, or cannot do it."""


class IndexUnavailable(StoreError):
    """The server that holds a store's index does not answer, or holds other data."""


class BadAbout(StoreError):
    """A gallery's description, or the table of its photos, cannot be read."""


class BadPatterns(StoreError):
    """The exclusion patterns cannot be read."""


class TooMuchGone(StoreError):
    """So many photos would be removed that it may be a mistake."""


class BadList(StoreError):
    """A list or a manifest of photos cannot be read."""


class NotCompared(StoreError):
    """The store has no matching graph."""
