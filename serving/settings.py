"""All limits and paths of the server, set by environment variables.

The defaults are meant for a public server on two cores and 4 GB. `python -m serving` prints the
reference in `docs/hosting.md`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from extractor.photo.formats import BY_KEY
from extractor.photo.limits import OWNER, VISITOR, Limits

PREFIX = "GEM_"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
DEFAULT_STORE = Path(__file__).resolve().parent.parent / "stores" / "gallery"


class BadSettings(Exception):
    """A setting is invalid; str(error) names the setting and its value."""


class Settings(BaseSettings):
    """The settings, each read from the environment variable GEM_NAME."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    # Limits that operators do not need to change.
    waiting_each: ClassVar[int] = 4  # queued searches of one visitor
    waiting_address: ClassVar[int] = 16  # queued searches of one address
    search_seconds: ClassVar[int] = 30  # limit for an API call, including its wait
    gallery_queries: ClassVar[int] = 512  # gallery photos cached as queries, 0.3 MB each
    requests_per_minute_address: ClassVar[int] = 600  # API calls of any kind
    connections_per_minute_address: ClassVar[int] = 120  # pages opened from one address
    messages_per_minute_address: ClassVar[int] = 1200  # clicks on all pages from one address
    session_mb: ClassVar[int] = 48  # uploads that a session holds
    session_files: ClassVar[int] = 40  # the same, in photos
    address_uploads: ClassVar[int] = 6  # concurrent uploads of one address
    silent_seconds: ClassVar[int] = 20  # until a new connection without a word is closed
    query_photos: ClassVar[int] = 4  # photos of one query
    api_hits: ClassVar[int] = 200  # maximum k of an API call
    own_minutes: ClassVar[int] = 60  # lifetime of a visitor's own gallery
    own_seconds: ClassVar[int] = 300  # limit for building one
    own_workers: ClassVar[int] = 1  # built concurrently
    link_minutes: ClassVar[int] = 30  # lifetime of an upload's link, and of what is cached for it
    links: ClassVar[int] = 300  # uploads cached for their links, 0.3 MB each
    view_workers: ClassVar[int] = 2  # gallery photos encoded for display concurrently
    views_waiting: ClassVar[int] = 32  # queued for it; further requests get the thumbnail

    store: str = Field(
        str(DEFAULT_STORE),
        description="Folders of the stores to serve, separated by `:`. They hold the same photos, "
        "described by different models; the page opens with the first.",
    )
    model: str = Field(
        "", description="Model file of stores whose model is not one of the project's own."
    )

    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Searches that run at a time; 0: one per core. One more may run if it only "
        "matches photos.",
    )
    waiting: int = Field(
        64, ge=1, le=10_000, description="Searches of all visitors that may wait in the queue."
    )

    searches_per_minute: int = Field(
        60,
        ge=1,
        description="Searches of one visitor per minute that have to compute anything. All "
        "visitors of one address together may make 4 times as many.",
    )
    uploads_per_minute: int = Field(
        60,
        ge=1,
        description="Photos that one visitor may upload per minute. All visitors of one address "
        "together may upload twice as many.",
    )

    upload_mb: int = Field(
        VISITOR.megabytes,
        ge=1,
        le=64,
        description="Megabytes (2^20 bytes) of one photo, by page and API.",
    )
    upload_megapixels: int = Field(
        VISITOR.megapixels, ge=1, le=1000, description="Megapixels of one photo, by page and API."
    )
    formats: str = Field(
        ",".join(VISITOR.formats),
        description="Photo formats that page and API accept, separated by commas: "
        + ", ".join(f"`{key}`" for key in BY_KEY)
        + ". See [formats](formats.md).",
    )
    upload_seconds: int = Field(
        120, ge=1, le=3600, description="Maximum duration of one upload, in seconds."
    )
    arriving_mb: int = Field(
        256,
        ge=1,
        le=65536,
        description="Megabytes of all visitors' uploads that may arrive or be held at a time.",
    )
    decode_workers: int = Field(
        2, ge=1, le=64, description="Processes that decode uploads, each one photo at a time."
    )
    decode_mb: int = Field(
        VISITOR.memory, ge=50, le=65536, description="Megabytes that decoding one upload may take."
    )
    decode_seconds: int = Field(
        int(VISITOR.seconds),
        ge=1,
        le=600,
        description="Processor time that decoding one upload may take, in seconds. An upload that "
        "takes 12 times that by the clock is refused with 503: the server is busy.",
    )
    photo_mb: int = Field(
        OWNER.megabytes,
        ge=1,
        le=16_384,
        description="Megabytes of one photo in a store's folder. This limit and the next three "
        "hold for `build`, `update` and the server.",
    )
    photo_megapixels: int = Field(
        OWNER.megapixels,
        ge=1,
        le=100_000,
        description="Megapixels of one photo in a store's folder.",
    )
    photo_memory_mb: int = Field(
        OWNER.memory,
        ge=50,
        le=1_048_576,
        description="Megabytes that decoding such a photo may take.",
    )
    photo_seconds: int = Field(
        int(OWNER.seconds),
        ge=1,
        le=3_600,
        description="Seconds of processor time that decoding such a photo may take.",
    )
    api_rerank: str = Field(
        "diffusion,alpha-qe,k-reciprocal,superglobal",
        description="Rerankers offered by the API and by the page's options, separated by commas. "
        "`dba` would hold a second copy of all descriptors in memory.",
    )
    api_verify: str = Field(
        "sift",
        description="Matchers offered by the API and by the page's options, separated by commas. "
        "`xfeat` needs models of its own and much more time.",
    )

    connections: int = Field(300, ge=1, le=100_000, description="Pages that may be open at a time.")
    connections_address: int = Field(20, ge=1, le=100_000, description="The same, for one address.")
    forget_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds for which the session of a visitor who has left is kept, so that "
        "they can return to their search.",
    )

    own_photos: int = Field(
        200, ge=1, le=10_000, description="Maximum number of photos in a visitor's own gallery."
    )
    own_galleries: int = Field(
        8,
        ge=0,
        le=1000,
        description="Maximum number of visitors' own galleries at a time; 0 turns them off.",
    )

    hosts: str = Field(
        "",
        description="Host names of this server, separated by commas; `*.` before a name allows all "
        "subdomains, `*` any name. `localhost` is always allowed on the machine itself.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of your proxies, separated by commas. X-Forwarded-For "
        "is trusted only from them; otherwise the client address is the connection's.",
    )
    cors: str = Field(
        "",
        description="Origins of other websites whose scripts may call the API and read pictures, "
        "separated by commas, such as `https://example.org`; `*` for any. Empty for none.",
    )
    metrics_from: str = Field(
        "127.0.0.0/8,::1",
        description="Addresses or networks that may read `/metrics`, separated by commas.",
    )

    @field_validator("trusted_proxies", "metrics_from")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        networks(text)
        return text

    @field_validator("cors")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for origin in split(text):
            if origin != "*" and ORIGIN.fullmatch(origin) is None:
                raise ValueError(f"{origin} is not an origin such as https://example.org")
        return text

    @field_validator("formats")
    @classmethod
    def _are_formats(cls, text: str) -> str:
        named = split(text)
        if unknown := [key for key in named if key not in BY_KEY]:
            raise ValueError(f"unknown format {unknown[0]}; known: {', '.join(BY_KEY)}")
        if not named:
            raise ValueError("at least one format is needed")
        return text

    @property
    def searches_per_minute_address(self) -> int:
        """As `searches_per_minute`, for all visitors of one address."""
        return 4 * self.searches_per_minute

    @property
    def uploads_per_minute_address(self) -> int:
        """As `uploads_per_minute`, for all visitors of one address."""
        return 2 * self.uploads_per_minute

    @property
    def uploads(self) -> Limits:
        """Limits of visitors' photos."""
        named = split(self.formats)
        keys = tuple(key for key in BY_KEY if key in named)
        pixels, memory = self.upload_megapixels, self.decode_mb
        return Limits(keys, self.upload_mb, pixels, memory, float(self.decode_seconds))

    @property
    def origins(self) -> list[str]:
        """The origins in `cors`."""
        return split(self.cors)

    @property
    def stores(self) -> list[Path]:
        """The folders in `store`, in order."""
        paths = [Path(path) for path in self.store.split(os.pathsep) if path]
        return paths or [DEFAULT_STORE]

    @property
    def known_hosts(self) -> list[str]:
        """The names in `hosts`, and those of the loopback interface."""
        return [*LOOPBACK_NAMES, *split(self.hosts)]

    @property
    def upload_bytes(self) -> int:
        """`upload_mb` in bytes."""
        return self.upload_mb * 2**20


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(16)
def networks(text: str) -> tuple[Network, ...]:
    """Parse a comma-separated list of addresses and networks. Raises ValueError."""
    return tuple(ipaddress.ip_network(part, strict=False) for part in split(text))


def split(text: str) -> list[str]:
    """The non-empty parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def settings() -> Settings:
    """The current settings, reloaded only when the environment has changed.

    Raises:
        BadSettings: a value is invalid.
    """
    return _read(tuple(sorted(item for item in os.environ.items() if item[0].startswith(PREFIX))))


@lru_cache(4)
def _read(environment: tuple[tuple[str, str], ...]) -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors()[0]
        name = PREFIX + str(problem["loc"][0]).upper()
        raise BadSettings(f"{name} is {problem['input']!r}: {problem['msg']}.") from None


def reference() -> str:
    """The reference of all settings in Markdown, each under its own heading."""
    parts = []
    for name, field in Settings.model_fields.items():
        default = "stores/gallery" if name == "store" else str(field.default)
        shown = f"Default: `{default}`." if default else "Empty by default."
        parts.append(f"### {PREFIX}{name.upper()}\n\n{field.description} {shown}{_range(name)}\n")
    return "\n".join(parts)


def _range(name: str) -> str:
    """The range of a numeric setting, as a sentence."""
    limits: dict[str, int] = {}
    for part in Settings.model_fields[name].metadata:
        limits |= {kind: getattr(part, kind) for kind in ("ge", "le") if hasattr(part, kind)}
    if not limits:
        return ""
    if "le" not in limits:
        return f" At least {limits['ge']}."
    return f" Range: {limits['ge']} to {limits['le']}."
