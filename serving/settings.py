"""Every limit and path of the server in one place, each changed by an environment variable.

The defaults are meant for a public server on two cores and 4 GB. `python -m serving` prints them
all as a table.
"""

from __future__ import annotations

import ipaddress
import os
import re
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from extractor.formats import BY_KEY
from extractor.limits import OWNER, VISITOR, Limits

PREFIX = "GEM_"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
DEFAULT_STORE = Path(__file__).resolve().parent.parent / "stores" / "gallery"


class BadSettings(Exception):
    """A setting has a value that cannot be; str(error) is a sentence that names it."""


class Settings(BaseSettings):
    """The settings. Each is read from the environment variable GEM_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    store: str = Field(
        str(DEFAULT_STORE),
        description="The stores that are served, `:` between them. They hold the same photos, "
        "described by different models; the page opens with the first.",
    )
    model: str = Field(
        "",
        description="Model file, for stores of a model that is not one of the project's own.",
    )

    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Searches that run at one time; 0 for one a core. One more may, if photos only "
        "have to be matched.",
    )
    waiting: int = Field(
        64, ge=1, le=10_000, description="Searches that may wait for their turn, of all visitors."
    )
    waiting_each: int = Field(
        4, ge=1, le=1000, description="Searches that may wait, of one visitor."
    )
    waiting_address: int = Field(
        16, ge=1, le=10_000, description="Searches that may wait, of all visitors of one address."
    )
    search_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Longest time an API call waits for its answer, its turn included.",
    )
    gallery_queries: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Gallery photos whose search is held ready for all visitors, about 0.3 MB "
        "each.",
    )

    searches_per_minute: int = Field(
        60, ge=1, description="Searches of one visitor in a minute that have to compute anything."
    )
    searches_per_minute_address: int = Field(
        240, ge=1, description="The same, of all visitors of one address."
    )
    uploads_per_minute: int = Field(60, ge=1, description="Photos one visitor uploads in a minute.")
    uploads_per_minute_address: int = Field(
        120, ge=1, description="The same, of all visitors of one address."
    )
    requests_per_minute_address: int = Field(
        600, ge=1, description="API calls of one address in a minute, searches or not."
    )
    connections_per_minute_address: int = Field(
        120, ge=1, description="Pages that one address opens in a minute."
    )
    messages_per_minute_address: int = Field(
        1200,
        ge=1,
        description="Clicks and other messages of all pages of one address in a minute; the page "
        "that sends one more is closed.",
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
        description="Formats of photos that page and API take, commas between: "
        + ", ".join(f"`{key}`" for key in BY_KEY)
        + ". See [formats](formats.md).",
    )
    upload_seconds: int = Field(
        120, ge=1, le=3600, description="Longest time one upload may take to arrive."
    )
    session_files: int = Field(
        40, ge=1, le=1000, description="Uploaded photos a session holds at one time."
    )
    session_mb: int = Field(
        48, ge=1, le=1024, description="Megabytes of uploads a session holds at one time."
    )
    address_uploads: int = Field(
        6, ge=1, le=1000, description="Uploads of one address that arrive at one time."
    )
    arriving_mb: int = Field(
        256,
        ge=1,
        le=65536,
        description="Megabytes of uploads, of all visitors, that arrive or are held at one time.",
    )
    decode_workers: int = Field(
        2, ge=1, le=64, description="Processes that decode uploads, one photo each at a time."
    )
    decode_mb: int = Field(
        VISITOR.memory, ge=50, le=65536, description="Megabytes that decoding one upload may take."
    )
    decode_seconds: int = Field(
        int(VISITOR.seconds),
        ge=1,
        le=600,
        description="Seconds of processor time that decoding one upload may take. After 12 times "
        "as long by the clock the photo is refused as well, with 503: the server is busy.",
    )
    photo_mb: int = Field(
        OWNER.megabytes,
        ge=1,
        le=16_384,
        description="Megabytes of one photo in a store's folder. `build`, `update` and the server "
        "go by this one and the next three.",
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
    api_photos: int = Field(4, ge=1, le=32, description="Photos in one API call.")
    api_rerank: str = Field(
        "diffusion,alpha-qe,k-reciprocal,superglobal",
        description="Rerankers that API calls and the page's experts may name, commas "
        "between. `dba` would hold all descriptors in memory once more.",
    )
    api_verify: str = Field(
        "sift",
        description="Matchers that API calls and the page's experts may name, commas "
        "between. `xfeat` needs models of its own, and much more time.",
    )
    api_hits: int = Field(200, ge=1, le=10_000, description="Most hits an API call may ask for.")

    connections: int = Field(300, ge=1, le=100_000, description="Pages open at one time.")
    connections_address: int = Field(
        20, ge=1, le=100_000, description="Pages of one address open at one time."
    )
    silent_seconds: int = Field(
        20,
        ge=1,
        le=3600,
        description="After how long a connection that has said nothing at all is closed.",
    )
    forget_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="How long a visitor who has left can come back to the search; then all that "
        "was kept of it is freed.",
    )

    own_photos: int = Field(200, ge=1, le=10_000, description="Photos in a visitor's own gallery.")
    own_minutes: int = Field(
        60, ge=1, le=1440, description="After how long it goes, if its visitor is still there."
    )
    own_seconds: int = Field(
        300, ge=1, le=3600, description="Longest time that making it may take."
    )
    own_galleries: int = Field(
        8, ge=0, le=1000, description="Visitors' own galleries at one time; 0 for none."
    )
    own_makers: int = Field(1, ge=1, le=64, description="Of those, how many are made at one time.")
    link_minutes: int = Field(
        30,
        ge=1,
        le=1440,
        description="How long the link of an upload works: so long its descriptor and keypoints "
        "are remembered, never the photo.",
    )
    links: int = Field(
        300,
        ge=1,
        le=100_000,
        description="Uploads whose links work at one time. All of them together hold at most this "
        "many times 0.3 MB, what a photo with SIFT keypoints takes; beyond that, described parts "
        "of photos are dropped first, then the oldest uploads.",
    )

    view_workers: int = Field(
        2, ge=1, le=64, description="Gallery photos encoded for display at one time."
    )
    views_waiting: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Views that may wait for that; more get the thumbnail instead.",
    )

    hosts: str = Field(
        "",
        description="Names that browsers reach this server by, commas between; `*.` before a name "
        "for all below it, `*` for any name. On the machine itself it is always `localhost`.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of your proxies, commas between. Only what they say in "
        "X-Forwarded-For is believed; without any, the address is that of the connection.",
    )
    cors: str = Field(
        "",
        description="Origins of other websites whose scripts may call the API and read pictures, "
        "commas between, such as `https://example.org`; `*` for any. Empty for none.",
    )
    metrics_from: str = Field(
        "127.0.0.0/8,::1",
        description="Addresses or networks that may read `/metrics`, commas between.",
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
            raise ValueError(f"{unknown[0]} is none of {', '.join(BY_KEY)}")
        if not named:
            raise ValueError("it names no format")
        return text

    @property
    def uploads(self) -> Limits:
        """What a visitor's photo may be and cost."""
        named = split(self.formats)
        keys = tuple(key for key in BY_KEY if key in named)
        pixels, memory = self.upload_megapixels, self.decode_mb
        return Limits(keys, self.upload_mb, pixels, memory, float(self.decode_seconds))

    @property
    def origins(self) -> list[str]:
        """Those of `cors`."""
        return split(self.cors)

    @property
    def stores(self) -> list[Path]:
        """The folders that `store` names, in order."""
        paths = [Path(path) for path in self.store.split(os.pathsep) if path]
        return paths or [DEFAULT_STORE]

    @property
    def known_hosts(self) -> list[str]:
        """The names of `hosts`, and those of this machine for itself."""
        return [*LOOPBACK_NAMES, *split(self.hosts)]

    @property
    def upload_bytes(self) -> int:
        """`upload_mb` in bytes."""
        return self.upload_mb * 2**20


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(16)
def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks with commas between. Raises ValueError."""
    return tuple(ipaddress.ip_network(part, strict=False) for part in split(text))


def split(text: str) -> list[str]:
    """The parts of a text with commas between, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def settings() -> Settings:
    """The settings as the environment has them now; read again only when that has changed.

    Raises:
        BadSettings: a value is out of its range.
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


def table() -> str:
    """All settings in Markdown, a row each."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "`stores/gallery`" if name == "store" else f"`{field.default}`"
        shown = default if field.default != "" else ""
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description}{_range(name)} |")
    return "\n".join(rows)


def _range(name: str) -> str:
    """The range of a number, in words."""
    limits: dict[str, int] = {}
    for part in Settings.model_fields[name].metadata:
        limits |= {kind: getattr(part, kind) for kind in ("ge", "le") if hasattr(part, kind)}
    if not limits:
        return ""
    if "le" not in limits:
        return f" At least {limits['ge']}."
    return f" {limits['ge']} to {limits['le']}."
