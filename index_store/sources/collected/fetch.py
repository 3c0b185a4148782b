"""Fetch files from the web, with rate limits and protection against hostile servers.

One request at a time, at a limited rate per server. Retry-After is respected, and a server that
does not answer is skipped. Only http and https, only public addresses unless others are allowed,
and never more bytes than the caller's limit.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from ...errors import StoreError

AGENT = "same-thing/1 (photo search; httpx)"
PAUSE = 0.5  # seconds between requests to one server
TRIES = 4  # of a request with a temporary failure: 429, 5xx, no connection
BACKOFF = 1.0  # seconds before the second try, doubled for each further one
MAX_PATIENCE = 60.0  # maximum Retry-After that is waited for, seconds
SECONDS = 120.0  # limit for one transfer
TIMEOUT = httpx.Timeout(20.0)  # of each step of a transfer
REDIRECTS = 5
SERVERS = 16  # connection pools that are kept
SILENT = 3  # consecutive URLs without an answer before a server is skipped
GLOBAL = ipaddress.ip_network("2000::/3")
EMBEDDING = [ipaddress.ip_network(net) for net in ("2001::/32", "2002::/16")]  # embed IPv4


class NotFetched(StoreError):
    """A URL provides no usable file. The message is a sentence."""


@dataclass(frozen=True)
class Fetched:
    """Result of a request.

    Attributes:
        data: content of the file.
        kind: media type, such as "image/jpeg".
        etag, modified: validators for a later conditional request.
    """

    data: bytes
    kind: str
    etag: str = ""
    modified: str = ""


class Web:
    """Fetches files. Not thread-safe, since it is rate-limited anyway.

    Args:
        private: whether to also fetch from addresses of this machine and of local networks.
        pause: seconds between requests to one server.
        sleep: function that waits for a number of seconds.
        clock: function that returns seconds, for the rate and for the time limit of a transfer.
    """

    def __init__(
        self,
        private: bool = False,
        pause: float = PAUSE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._client = httpx.Client(
            transport=Guarded(private),
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            timeout=TIMEOUT,
            follow_redirects=True,
            max_redirects=REDIRECTS,
        )
        self._pause, self._sleep, self._clock = pause, sleep, clock
        self._next: dict[str, float] = {}
        self._silent: Counter[str] = Counter()  # consecutive failures, by host

    def get(self, url: str, max_bytes: int, etag: str = "", modified: str = "") -> Fetched | None:
        """Fetch a file.

        Args:
            url: URL of the file.
            max_bytes: maximum size in bytes.
            etag, modified: validators of an existing copy, or "".

        Returns:
            The file; None if it has not changed.

        Raises:
            NotFetched: the file cannot be fetched.
        """
        headers = {"If-None-Match": etag} if etag else {}
        if modified:
            headers["If-Modified-Since"] = modified
        try:
            host = httpx.URL(url).host
        except (httpx.InvalidURL, ValueError) as error:
            raise NotFetched(f"The address cannot be fetched ({error}).") from None
        if self._silent[host] >= SILENT:
            raise NotFetched(f"The server has not answered {SILENT} addresses in a row.")
        silent, answered, reason = self._silent.pop(host, 0), True, ""
        for attempt in range(TRIES):
            wait = BACKOFF * 2 ** (attempt - 1) if attempt else 0.0
            try:
                self._take_turn(host, wait)
                return self._transfer(url, max_bytes, headers)
            except Later as error:
                answered, reason = True, str(error)
                self._next[host] = max(self._next[host], self._clock() + error.seconds)
                if error.seconds > MAX_PATIENCE:
                    break
            except httpx.TransportError as error:
                answered = False
                reason = f"The server does not answer ({error or type(error).__name__})."
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise NotFetched(f"The address cannot be fetched ({error}).") from None
        if not answered:
            self._silent[host] = silent + 1
        raise NotFetched(reason)

    def _take_turn(self, host: str, wait: float) -> None:
        """Wait for the server's next turn. Raises NotFetched if the wait is too long."""
        now = self._clock()
        wait = max(wait, self._next.get(host, now) - now)
        if wait > MAX_PATIENCE:
            raise NotFetched(f"The server asks to be left alone for {wait:.0f} s.")
        if wait > 0:
            self._sleep(wait)
        self._next[host] = self._clock() + self._pause

    def _transfer(self, url: str, max_bytes: int, headers: dict[str, str]) -> Fetched | None:
        end = self._clock() + SECONDS
        with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED and headers:
                return None
            if response.status_code == 429 or response.status_code >= 500:
                raise Later(response)
            if response.status_code != httpx.codes.OK:
                raise NotFetched(f"The server answers {response.status_code}.")
            coding = response.headers.get("content-encoding", "").strip().lower() or "identity"
            if coding != "identity":  # a few compressed bytes may expand to a billion
                raise NotFetched(f"The server sends the file compressed ({coding[:60]}).")
            data = bytearray()
            for piece in response.iter_raw():
                data += piece
                if len(data) > max_bytes:
                    raise NotFetched(f"The file has more than {max_bytes / 2**20:.0f} MB.")
                if self._clock() > end:
                    raise NotFetched(f"The transfer takes longer than {SECONDS:.0f} s.")
            headers_received = response.headers
            kind = headers_received.get("content-type", "").partition(";")[0].strip().lower()
            validators = [
                headers_received.get(name, "")[:500] for name in ("etag", "last-modified")
            ]
            return Fetched(bytes(data), kind, *validators)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class Later(Exception):
    """A server asks the client to wait.

    Attributes:
        seconds: requested waiting time.
    """

    def __init__(self, response: httpx.Response):
        super().__init__(f"The server answers {response.status_code}.")
        self.seconds = 0.0
        value = response.headers.get("retry-after", "")
        if value.isascii() and value.isdigit():
            self.seconds = float(value[:9])
        elif value:
            try:
                self.seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):
                pass
        self.seconds = max(0.0, self.seconds)


class Guarded(httpx.BaseTransport):
    """Connects to the address that was checked, so that DNS cannot change it afterwards.

    Each redirect passes through here too.

    Args:
        private: see `Web`.
    """

    def __init__(self, private: bool):
        self._private = private
        self._of: OrderedDict[str, httpx.HTTPTransport] = OrderedDict()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises NotFetched for URLs and addresses that are not allowed."""
        url = request.url
        if url.scheme not in ("http", "https"):
            raise NotFetched("Only http and https addresses are fetched.")
        if not self._private:
            host = url.raw_host.decode("ascii")
            address = public_address(host, url.port or (443 if url.scheme == "https" else 80))
            request = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,  # includes the original Host
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
        response = self._transport(url.host).handle_request(request)
        if response.has_redirect_location:  # httpx would read the redirect's body without a limit
            response.close()
            location = {"Location": response.headers["Location"]}
            return httpx.Response(response.status_code, headers=location)
        return response

    def _transport(self, host: str) -> httpx.HTTPTransport:
        """The transport of one host: connections are only valid for its own certificate."""
        if host not in self._of:
            self._of[host] = httpx.HTTPTransport()
            if len(self._of) > SERVERS:
                self._of.popitem(last=False)[1].close()
        self._of.move_to_end(host)
        return self._of[host]

    def close(self) -> None:
        """Close all connections."""
        for transport in self._of.values():
            transport.close()


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is on the public internet and does not embed another address."""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.version == 6 and (ip not in GLOBAL or any(ip in net for net in EMBEDDING)):
        return False
    return ip.is_global and not ip.is_multicast


def public_address(host: str, port: int) -> str:
    """The first address of a host, if all its addresses are public. Raises NotFetched."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"There is no server {host[:100]} ({error}).") from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for resolved in addresses:
        if not is_public(ipaddress.ip_address(resolved)):
            raise NotFetched(
                f"{host[:100]} is an address of this machine or of a local network; "
                "--allow-private fetches from it."
            )
    return addresses[0]
