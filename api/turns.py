"""Turns of API calls: heavy work on the server's executor, cancelled if the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from serving.middleware.client_ip import address_of
from serving.queue.admission import Busy, admission
from serving.refusal import busy, queue_full, refuse, spend
from serving.settings import settings

T = TypeVar("T")
POLL_SECONDS = 0.25  # between two checks of the connection


async def in_turn(request: Request, work: Callable[[], T]) -> T:
    """Run a task in a turn and return its result.

    Args:
        request: the call, with its body already read. Its address counts for the quota.
        work: the task, which runs on another thread.

    Raises:
        Refused: the queue is full, the quota is used up, the time limit is reached, or the caller
            has disconnected.
        Exception: any error of the task.
    """
    address = address_of(request.scope)
    spend("search", address)
    turns = admission()
    try:
        ticket = turns.submit(address, work, address)
    except Busy as error:
        raise queue_full(error) from None
    done = asyncio.wrap_future(ticket.future)
    try:
        async with asyncio.timeout(settings().search_seconds):
            while not (await asyncio.wait([done], timeout=POLL_SECONDS))[0]:
                if await request.is_disconnected():
                    raise refuse("caller left", 400, "The connection was closed.")
            return done.result()
    except TimeoutError:
        raise busy("slow answer", turns.retry_after()) from None
    finally:
        ticket.cancel()
