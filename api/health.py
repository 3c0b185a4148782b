"""Endpoints for operators: liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.galleries.galleries import galleries
from serving.galleries.gallery import Gallery
from serving.galleries.readiness import finds_itself
from serving.middleware.client_ip import FORWARDED, address_of, is_among
from serving.operations import prometheus
from serving.refusal import problem
from serving.settings import settings

PATIENCE = 5.0  # seconds for the answer
NOT_READY = "The gallery is not ready."

log = logging.getLogger(__name__)


async def healthz(request: Request) -> Response:
    """Liveness: the process answers."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


async def readyz(request: Request) -> Response:
    """Readiness: every gallery finds its own photo. Lists models and generations."""
    opened = galleries().opened()
    if not opened:
        return problem(503, NOT_READY, 10)
    checks = asyncio.get_running_loop().run_in_executor(_thread(), check_all, opened)
    try:
        found = await asyncio.wait_for(asyncio.shield(checks), PATIENCE)
    except TimeoutError:
        return problem(503, "The gallery did not answer in time.", 10)
    if not found:
        return problem(503, NOT_READY, 10)
    served = [
        {
            "model": name,
            "generation": gallery.engine.store.version,
            "photos": len(gallery.engine.store),
        }
        for name, gallery in opened.items()
    ]
    return JSONResponse(
        {"status": "ready", "galleries": served}, headers={"Cache-Control": "no-store"}
    )


async def metrics_text(request: Request) -> Response:
    """Metrics for Prometheus; 404 for addresses outside the setting `metrics_from`."""
    address = address_of(request.scope)
    # Behind an untrusted local proxy every client would appear to be on this machine.
    forwarded = address in ("127.0.0.1", "::1") and FORWARDED in request.headers
    if forwarded or not is_among(address, settings().metrics_from):
        return problem(404, "There is nothing here.")
    return PlainTextResponse(prometheus.text(), media_type=prometheus.CONTENT_TYPE)


def check_all(opened: dict[str, Gallery]) -> bool:
    """Whether each gallery finds its own photo."""
    try:
        return all(finds_itself(gallery) for gallery in opened.values())
    except Exception:  # any error means not ready
        log.exception("a gallery does not find its own photo")
        return False


@cache
def _thread() -> ThreadPoolExecutor:
    """A separate thread, so that searches and pictures never delay the check."""
    return ThreadPoolExecutor(1, thread_name_prefix="ready")
