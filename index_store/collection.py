"""Which collection of a Milvus server holds a store's descriptors."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from .errors import StoreError

# No user and no password: it is written down, and a manifest keeps no secrets.
ADDRESS = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
TOKEN = "GEM_MILVUS_TOKEN"  # the environment variable with a server's token


@dataclass(frozen=True)
class Collection:
    """A collection that a store was pushed to.

    Attributes:
        address: Of the server, such as http://localhost:19530.
        name: Of the collection.
        generation: Whose descriptors it holds.
        content: `Manifest.content` of that generation; empty if the store shall search its own
            index again.
    """

    address: str
    name: str
    generation: str
    content: str

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError if it can be no collection."""
        if not all(type(text) is str for text in (self.generation, self.content)):
            raise TypeError("a collection's generation or content is no str")
        if not NAME.fullmatch(self.name) or not ADDRESS.fullmatch(self.address):
            raise ValueError("a collection's name or address cannot be")

    @property
    def description(self) -> str:
        """What the server keeps beside the collection, to tell it from others."""
        return f"generation {self.generation}, content {self.content}"

    def set_aside(self) -> Collection:
        """The same collection, not to be searched, but known."""
        return dataclasses.replace(self, content="")


def checked_address(text: str) -> str:
    """The address of a server. Raises StoreError, in a sentence without secrets."""
    if not ADDRESS.fullmatch(text):
        raise StoreError(
            "The address of a server looks like http://localhost:19530. "
            f"A token does not belong into it, but into the environment variable {TOKEN}."
        )
    return text
