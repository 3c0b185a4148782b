"""What is not done, and why: one class for all bounds, and its answer as problem details."""

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
    """A request that is not taken; str(error) is a sentence for the visitor.

    Attributes:
        status: of the HTTP answer.
        retry_after_seconds: None where trying again would not help.
    """

    def __init__(self, status: int, sentence: str, retry_after_seconds: int | None = None):
        super().__init__(sentence)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def refuse(why: str, status: int, sentence: str, retry_after_seconds: int | None = None) -> Refused:
    """A refusal that is counted. why: for the metrics; the others as in `Refused`."""
    prometheus.REFUSED.labels(why).inc()
    return Refused(status, sentence, retry_after_seconds)


def busy(why: str, retry_after_seconds: int) -> Refused:
    """What to raise, 503, where everybody is to try again later. Arguments as `refuse`."""
    sentence = f"Busy, try again in {quantity(retry_after_seconds, 'second')}."
    return refuse(why, 503, sentence, retry_after_seconds)


def spend(kind: str, address: str, visitor: str = "") -> None:
    """`Quota.spend` that raises Refused."""
    try:
        quota().spend(kind, address, visitor)
    except TooMany as error:
        raise Refused(429, str(error), error.retry_after_seconds) from None


def of_busy(error: Busy) -> Refused:
    """A full queue: 503 if it is everybody's, 429 if it is one's own share of it."""
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
        status: of the HTTP answer.
        sentence: for the visitor.
        retry_after_seconds: as in `Refused`.
        headers: further ones.
        more: further members.
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
