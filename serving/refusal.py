"""Refusals: one exception for all limits, and its answer as problem details."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from plurals import quantity

from .operations import prometheus
from .queue.admission import Busy
from .queue.quota import TooMany, quota

PROBLEM = "application/problem+json"


class Refused(Exception):
    """A refused request; str(error) is a sentence for the visitor.

    Attributes:
        status: HTTP status.
        retry_after_seconds: None if a retry would not help.
    """

    def __init__(self, status: int, sentence: str, retry_after_seconds: int | None = None):
        super().__init__(sentence)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def refuse(
    reason: str, status: int, sentence: str, retry_after_seconds: int | None = None
) -> Refused:
    """Count a refusal and return it. reason: its label in the metrics; the rest as in `Refused`."""
    prometheus.REFUSED.labels(reason).inc()
    return Refused(status, sentence, retry_after_seconds)


def busy(reason: str, retry_after_seconds: int) -> Refused:
    """A 503 refusal for an overloaded server, to be raised. Arguments as `refuse`."""
    sentence = f"Busy, try again in {quantity(retry_after_seconds, 'second')}."
    return refuse(reason, 503, sentence, retry_after_seconds)


def spend(kind: str, address: str, visitor: str = "") -> None:
    """Like `Quota.spend`, but raises Refused."""
    try:
        quota().spend(kind, address, visitor)
    except TooMany as error:
        raise Refused(429, str(error), error.retry_after_seconds) from None


def queue_full(error: Busy) -> Refused:
    """The refusal for a full queue: 503 for the server's queue, 429 for the visitor's share."""
    status = 503 if error.reason == "server" else 429
    return Refused(status, str(error), error.retry_after_seconds)


def problem(
    status: int,
    sentence: str,
    retry_after_seconds: int | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """Problem details (RFC 9457).

    Args:
        status: HTTP status.
        sentence: detail for the visitor.
        retry_after_seconds: as in `Refused`.
        headers: additional headers.
        more: additional members.
    """
    headers = dict(headers or {})
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after_seconds)
        more["retry_after"] = retry_after_seconds
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
    }
    return JSONResponse(content | more, status, headers, PROBLEM)


def problem_of(error: Refused, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal as problem details."""
    return problem(error.status, str(error), error.retry_after_seconds, headers)
