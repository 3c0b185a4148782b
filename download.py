"""Downloads of data sets, photos and networks with pooch.

A file is requested from each mirror in turn, then from its own URL. An interrupted download
resumes. A file gets its final name only after its checksum has been verified. A file without a
published checksum is pinned: later downloads must match the SHA-256 of the first one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from plurals import quantity

if TYPE_CHECKING:
    from requests import Response

DOWNLOADS = Path("downloads")  # below the working directory, as stores/ is
MIRRORS = "GEM_MIRRORS"  # environment variable, URLs separated by spaces
SHA256_DIGITS = 64  # hexadecimal digits of a SHA-256
MAX_BYTES = 8 * 2**30  # bytes of one file
CHUNK = 2**16  # bytes read and written at a time
TIMEOUT = (10, 60)  # seconds: to connect, and between two packets
LOOPBACK = ("127.0.0.1", "::1", "localhost")
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206


class DownloadFailed(Exception):
    """A file could not be downloaded or has the wrong checksum; the message names it."""


@dataclass(frozen=True)
class Remote:
    """A file on the internet.

    Attributes:
        url: the file's own URL.
        sha256: the file's digest, or the leading digits that its publisher states; "" without any.
        size: size in bytes, if known; a longer response is an error.
        secure: whether a file without all 64 digits is accepted only over https, or from this
            machine.
    """

    url: str
    sha256: str = ""
    size: int | None = None
    secure: bool = True

    def url_at(self, mirror: str) -> str:
        """URL of the file at a mirror: MIRROR/HOST/PATH."""
        parts = urlsplit(self.url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}{query}"


def named_mirrors(names: Sequence[str] = ()) -> list[str]:
    """The mirrors named on the command line, else those in GEM_MIRRORS."""
    return list(names) or os.environ.get(MIRRORS, "").split()


def download(
    remote: Remote,
    path: Path,
    mirrors: Sequence[str] = (),
    pins: Path | None = None,
    progress: bool = True,
) -> Path:
    """Download a file unless it exists.

    Args:
        remote: the file to download.
        path: target path. An existing file is verified and used.
        mirrors: URLs of mirrors to try first.
        pins: JSON file {URL: SHA-256} of first downloads, for files without a published SHA-256.
            None: `pins.json` in DOWNLOADS.
        progress: whether to show a progress bar on a terminal.

    Returns:
        `path`.

    Raises:
        DownloadFailed: no URL provides the file, or the existing file has another checksum.
        OSError: the file cannot be written.
    """
    if importlib.util.find_spec("pooch") is None:
        raise DownloadFailed(
            "pooch is not installed; run: pip install -r requirements-evaluation.txt"
        )
    pinned = Pins(pins or DOWNLOADS / "pins.json")
    expected = [remote.sha256]
    if len(remote.sha256) < SHA256_DIGITS:
        expected.append(pinned.digest(remote.url))
    if path.exists():
        digest = sha256_of(path)
        if not all(map(digest.startswith, expected)):
            raise DownloadFailed(
                f"{path} is not the published file: its SHA-256 is {digest[:16]}…, and "
                f"{max(expected, key=len)[:16]}… is expected. Move it away and run this again."
            )
        return path
    reasons = []
    for address in [*(remote.url_at(mirror) for mirror in mirrors), remote.url]:
        try:
            digest = fetch(remote, address, path, expected, progress)
        except DownloadFailed as error:
            reasons.append(f"{address} {error}")
            continue
        if len(remote.sha256) < SHA256_DIGITS:
            pinned.add(remote.url, digest)
        return path
    raise DownloadFailed(
        f"{path.name} could not be downloaded: {'; '.join(reasons)}. Check the connection, or name "
        f"a mirror (--mirror or {MIRRORS})."
    )


def fetch(remote: Remote, address: str, path: Path, expected: Sequence[str], progress: bool) -> str:
    """Download from one URL; returns the SHA-256. Raises DownloadFailed with the reason."""
    import pooch  # imported here: serving does not need it
    from requests import RequestException

    if not is_trusted(remote, address):
        raise DownloadFailed("has no published SHA-256, so it must be an https URL")
    partial = Partial(path.with_name(f".{path.name}.partial"), remote, resume=any(expected))
    digests = []

    def resuming(url: str, output: str, _: object) -> None:
        partial.fetch(url, progress and sys.stderr.isatty())
        digest = sha256_of(partial.path)
        if not all(map(digest.startswith, expected)):
            partial.path.unlink()
            raise DownloadFailed(
                f"sent another file: its SHA-256 is {digest[:16]}…, and "
                f"{max(expected, key=len)[:16]}… is expected"
            )
        digests.append(digest)
        shutil.move(partial.path, output)

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(address, None, fname=path.name, path=path.parent, downloader=resuming)
    except RequestException as error:
        raise DownloadFailed(f"cannot be reached ({type(error).__name__})") from error
    finally:
        partial.drop_if_empty()
    return digests[0]


def is_trusted(remote: Remote, url: str) -> bool:
    """Whether the content of a URL may be accepted as the file."""
    parts = urlsplit(url)
    checked = len(remote.sha256) == SHA256_DIGITS or not remote.secure
    return checked or parts.scheme == "https" or parts.hostname in LOOPBACK


class Partial:
    """A partial download, which later attempts resume.

    Args:
        path: file for the bytes downloaded so far.
        remote: the file to download.
        resume: whether to keep earlier bytes; requires a checksum, which proves that they belong
            to the same file.
    """

    def __init__(self, path: Path, remote: Remote, resume: bool):
        self.path, self._remote = path, remote
        if not resume:
            path.unlink(missing_ok=True)

    def fetch(self, url: str, progress: bool) -> None:
        """Append the rest of the file.

        Raises:
            DownloadFailed: the response is too long, an error, or redirects to an untrusted URL.
            RequestException: the server cannot be reached.
        """
        from pooch import HTTPDownloader
        from requests import HTTPError

        begin = self.path.stat().st_size if self.path.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # ranges refer to the stored bytes
        if begin:
            headers["Range"] = f"bytes={begin}-"
        try:
            with Limited(self.path, self._remote.size or MAX_BYTES) as file:
                hooks = {"response": lambda answer, **_: self._check(answer, file)}
                load = HTTPDownloader(
                    progressbar=progress,
                    chunk_size=CHUNK,
                    headers=headers,
                    hooks=hooks,
                    timeout=TIMEOUT,
                )
                load(url, file, None)
        except HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if not begin or status != RANGE_NOT_SATISFIABLE:
                raise DownloadFailed(f"answers {status}") from error
            self.path.unlink()  # it is as long as the file, or longer: start over
            self.fetch(url, progress)

    def drop_if_empty(self) -> None:
        """Delete the partial file if it is empty."""
        if self.path.exists() and not self.path.stat().st_size:
            self.path.unlink()

    def _check(self, answer: Response, file: Limited) -> None:
        """Check each response, including redirects, before its content is read."""
        leads_to = urljoin(answer.url, answer.headers.get("Location", ""))
        if not is_trusted(self._remote, leads_to):
            raise DownloadFailed(f"leads to {leads_to}, which is not https")
        if answer.ok and not answer.is_redirect and answer.status_code != PARTIAL_CONTENT:
            file.truncate(0)  # the server sends the whole file, not the range


class Limited(io.FileIO):
    """A file opened for appending, up to a maximum size in bytes."""

    def __init__(self, path: Path, largest: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, "a")
        self._largest = largest

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Raises DownloadFailed beyond the limit."""
        if os.fstat(self.fileno()).st_size + len(data) > self._largest:
            self.truncate(0)
            raise DownloadFailed(f"sends more than {quantity(self._largest, 'byte')}")
        return super().write(data)


class Pins:
    """SHA-256 of the first download of each file whose publisher states none."""

    def __init__(self, path: Path):
        self._path = path

    def _read(self) -> dict[str, str]:
        try:
            return TypeAdapter(dict[str, str]).validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError:
            raise DownloadFailed(
                f"{self._path} is damaged; it should contain {{URL: SHA-256}}"
            ) from None

    def digest(self, url: str) -> str:
        """The pinned SHA-256 of a URL, "" if it is not pinned."""
        return self._read().get(url, "")

    def add(self, url: str, digest: str) -> None:
        """Pin the SHA-256 of a URL. The pins file is replaced atomically."""
        pins = self._read() | {url: digest}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, dict(sorted(pins.items())))


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
