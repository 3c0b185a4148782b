"""Photos by URL, so that they travel as cached files and not through the page's websocket. And a
health check.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extractor import BadModel, BadPhoto
from index_store import Store, StoreError

from .service import service

# The URL changes with every build.
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def thumbnail_url(store: Store, id: int) -> str:
    """Address of a gallery photo's thumbnail (480 pixels), relative to the page."""
    return f"photos/{store.version}/{id}/thumbnail.jpg"


def view_url(store: Store, id: int) -> str:
    """Address of a gallery photo as large as it is decoded (1024 pixels), relative to the page."""
    return f"photos/{store.version}/{id}/view.jpg"


def photo(request: Request) -> Response:
    """A gallery photo, as a thumbnail or as large as it is decoded."""
    gallery = service.of_version(request.path_params["version"])
    id, size = request.path_params["id"], request.path_params["size"]
    if gallery is None or size not in ("thumbnail", "view"):
        return Response(status_code=404)
    store = gallery.engine.store
    if not 0 <= id < len(store):
        return Response(status_code=404)
    if size == "view":
        try:
            return Response(gallery.view_jpeg(id), 200, FOREVER, "image/jpeg")
        except (OSError, BadPhoto):
            # Gone or changed since it was indexed: what it was, until it is back.
            return Response(store.thumbnail(id), 200, {"Cache-Control": "no-store"}, "image/jpeg")
    return Response(store.thumbnail(id), 200, FOREVER, "image/jpeg")


async def healthz(request: Request) -> Response:
    """Whether there is a gallery to search."""
    try:
        gallery = await run_in_threadpool(service.gallery)
    except (StoreError, BadModel, OSError) as error:
        return JSONResponse({"status": "not ready", "reason": str(error)}, 503)
    return JSONResponse({"status": "ok", "photos": len(gallery.engine.store)})


ROUTES = [Route("/photos/{version:str}/{id:int}/{size:str}.jpg", photo), Route("/healthz", healthz)]
