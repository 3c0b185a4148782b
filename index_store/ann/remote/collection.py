"""Name and address of the Milvus collection with a store's descriptors."""

from __future__ import annotations

import dataclasses
import re
import secrets
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from index_store.errors import StoreError
from validation import KNOWN_KEYS

# No user or password: the manifest stores the address and must hold no secrets.
ADDRESS = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# Only our collections have such names; the next push may drop them.
NAME = re.compile(r"(gem_[0-9a-f]{8})_[0-9]{6,}")
TOKEN = "GEM_MILVUS_TOKEN"  # environment variable with the server's token


@dataclass(frozen=True)
class Collection:
    """A collection that a store was pushed to.

    Attributes:
        address: URL of the server, such as http://localhost:19530.
        name: name of the collection: the store's family, and the generation's name.
        generation: generation whose descriptors it holds.
        content: `Manifest.content` of that generation; empty if the store searches its own index
            again.
    """

    __pydantic_config__ = KNOWN_KEYS

    address: Annotated[str, Field(pattern=f"^{ADDRESS.pattern}$")]
    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    generation: str
    content: str

    @property
    def description(self) -> str:
        """The collection's description on the server, which identifies its content."""
        return f"generation {self.generation}, content {self.content}"

    @property
    def family(self) -> str:
        """Common prefix of the names of all collections of a store."""
        return self.name.rpartition("_")[0]

    def set_aside(self) -> Collection:
        """The same collection, still known but no longer searched."""
        return dataclasses.replace(self, content="")


def new_family() -> str:
    """A family for a store that was never pushed."""
    return f"gem_{secrets.token_hex(4)}"


def are_of(family: str, names: list[str]) -> list[str]:
    """The names of collections that belong to a family, sorted."""
    found = ((NAME.fullmatch(name), name) for name in sorted(names))
    return [name for match, name in found if match is not None and match[1] == family]


def checked_address(text: str) -> str:
    """A valid server address. Raises StoreError, in a sentence without secrets."""
    if not ADDRESS.fullmatch(text):
        raise StoreError(
            "The address of a server looks like http://localhost:19530. "
            f"A token does not belong into it, but into the environment variable {TOKEN}."
        )
    return text
