"""Client address of a request, as quotas count it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

from ..settings import Network, networks, settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED = "x-forwarded-for"
LOOPBACK = "127.0.0.1"
UNKNOWN = "unknown"
IPV6_PREFIX = 64  # bits that a home or a phone shares; it chooses the rest freely


def address_of(scope: Scope) -> str:
    """Client address of a request or a websocket, normalised by `quota_address`."""
    client = scope.get("client")
    return client_address(client[0] if client else "", Headers(scope=scope).getlist(FORWARDED))


def client_address(peer: str, forwarded: Iterable[str]) -> str:
    """Client address of a visitor, normalised by `quota_address`.

    uvicorn applies X-Forwarded-For to every connection from this machine. That is undone here, so
    that only the setting `trusted_proxies` decides whether the header is trusted.

    Args:
        peer: address that the web server reports.
        forwarded: values of X-Forwarded-For, empty without the header. Each proxy appends the
            address that it saw.
    """
    hops = _hops(forwarded)
    peer = _connected(peer, hops)
    trusted = networks(settings().trusted_proxies)
    if hops and _is_in(peer, trusted):
        peer = _first_foreign(hops, trusted)
    return quota_address(peer)


def is_from_proxy(scope: Scope) -> bool:
    """Whether a trusted proxy sent a request, so that its headers can be trusted.

    If this machine is trusted, a direct client that sends X-Forwarded-For passes too: use this only
    for headers that affect the client's own answer.
    """
    client = scope.get("client")
    hops = _hops(Headers(scope=scope).getlist(FORWARDED))
    peer = _connected(client[0] if client else "", hops)
    return _is_in(peer, networks(settings().trusted_proxies))


def is_among(address: str, allowed: str) -> bool:
    """Whether an address from `client_address` is in one of the networks ("A,B/24,...")."""
    return _is_in(address.removesuffix(f"/{IPV6_PREFIX}"), networks(allowed))


def quota_address(address: str) -> str:
    """The address for IPv4 and loopback, its /64 for IPv6; UNKNOWN if it is not an address."""
    parsed = _parse(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address) and not parsed.is_loopback:
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


_LOOPBACK4, _LOOPBACK6 = ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")


def _hops(forwarded: Iterable[str]) -> list[str]:
    """The addresses in X-Forwarded-For, nearest last."""
    return [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]


def _connected(peer: str, hops: Sequence[str]) -> str:
    """The connection's own address, before uvicorn replaced it by a hop."""
    if hops and peer == _first_foreign(hops, (_LOOPBACK4, _LOOPBACK6)):
        return LOOPBACK
    return peer


def _first_foreign(hops: Sequence[str], trusted: Sequence[Network]) -> str:
    """The nearest hop that is not a trusted proxy; the furthest if all are trusted."""
    return next((hop for hop in reversed(hops) if not _is_in(hop, trusted)), hops[0])


def _is_in(address: str, among: Sequence[Network]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in among)


def _parse(address: str) -> Address | None:
    """Parse an address; None if it is invalid. An IPv4-mapped IPv6 address becomes IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
