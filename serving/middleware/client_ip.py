"""Where a visitor is: the address that quotas are counted by."""

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
# A home or a phone is given so much of IPv6 to choose its addresses from.
IPV6_PREFIX = 64


def address_of(scope: Scope) -> str:
    """The address of a request or a websocket, as quotas count it (`counted`)."""
    client = scope.get("client")
    return client_address(client[0] if client else "", Headers(scope=scope).getlist(FORWARDED))


def client_address(peer: str, forwarded: Iterable[str]) -> str:
    """The address of a visitor, as quotas count it (`counted`).

    The web server itself (uvicorn) has believed X-Forwarded-For already if the connection came
    from this machine. Whether it should have, our own setting decides.

    Args:
        peer: what the web server takes for the address.
        forwarded: values of X-Forwarded-For, empty if there was none. Each proxy has added the
            address that it saw, at the end.
    """
    hops = _hops(forwarded)
    peer = _connected(peer, hops)
    trusted = networks(settings().trusted_proxies)
    if hops and _is_in(peer, trusted):
        peer = _first_foreign(hops, trusted)
    return counted(peer)


def is_from_proxy(scope: Scope) -> bool:
    """Whether a trusted proxy sent a request, whose headers may then be believed.

    A client that connects directly and forwards its own address passes where this machine is
    trusted: only let headers of the client's own answer depend on it.
    """
    client = scope.get("client")
    hops = _hops(Headers(scope=scope).getlist(FORWARDED))
    peer = _connected(client[0] if client else "", hops)
    return _is_in(peer, networks(settings().trusted_proxies))


def is_among(address: str, allowed: str) -> bool:
    """Whether an address of `client_address` is in one of these networks ("A,B/24,...")."""
    return _is_in(address.removesuffix(f"/{IPV6_PREFIX}"), networks(allowed))


def counted(address: str) -> str:
    """The address itself, or the network of one home for IPv6; a word if it is none."""
    parsed = _parse(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address) and not parsed.is_loopback:
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


_LOOPBACK4, _LOOPBACK6 = ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")


def _hops(forwarded: Iterable[str]) -> list[str]:
    """The addresses in X-Forwarded-For, the nearest last."""
    return [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]


def _connected(peer: str, hops: Sequence[str]) -> str:
    """Where the connection came from, before uvicorn put a hop in its place."""
    if hops and peer == _first_foreign(hops, (_LOOPBACK4, _LOOPBACK6)):
        return LOOPBACK
    return peer


def _first_foreign(hops: Sequence[str], trusted: Sequence[Network]) -> str:
    """The nearest hop that is no trusted proxy; the furthest if all are."""
    return next((hop for hop in reversed(hops) if not _is_in(hop, trusted)), hops[0])


def _is_in(address: str, among: Sequence[Network]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in among)


def _parse(address: str) -> Address | None:
    """None for what is no address. An IPv4 address written as IPv6 is the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
