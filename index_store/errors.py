"""What can be wrong with a store; each message is a sentence that says what to do."""


class StoreError(Exception):
    """Base of all store errors."""


class StoreMissing(StoreError):
    """There is no finished store in this folder."""


class StoreCorrupt(StoreError):
    """A file of the store is damaged or missing."""


class PhotosDamaged(StoreCorrupt):
    """What is kept of a few photos is damaged; the others are served.

    Attributes:
        ids: Of these photos, in the generation that was verified. Empty if only photos that were
            removed are concerned.
    """

    def __init__(self, message: str, ids: list[int]):
        super().__init__(message)
        self.ids = ids


class StoreMismatch(StoreError):
    """The store was made with another descriptor model, or by another version of this program."""


class StoreBusy(StoreError):
    """Another build is writing this store."""


class StoreUnwritable(StoreError):
    """The store's files cannot be written: the disk is full, or nobody may."""


class NothingToIndex(StoreError):
    """The folder holds no photo that can be indexed."""


class UnknownPhoto(StoreError):
    """The store has no such photo."""


class ClusterUnusable(StoreError):
    """The machines that were to do the work cannot be reached, or cannot do it."""


class IndexUnavailable(StoreError):
    """The server that holds a store's index does not answer, or holds something else."""


class BadAbout(StoreError):
    """What a gallery says of itself, or of its photos, cannot be read."""


class BadPatterns(StoreError):
    """What says which files are left out cannot be read."""


class TooMuchGone(StoreError):
    """So many photos have gone that nobody may have meant it."""


class BadList(StoreError):
    """A list or a manifest of photos cannot be read."""


class NotCompared(StoreError):
    """The store's photos were not compared with each other."""
