"""Photos by URL, so that they travel as cached files and not through the page's websocket."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.galleries import galleries
from serving.pictures import SIZES, parse_id, pictures


async def photo(request: Request) -> Response:
    """A gallery photo, as a thumbnail or as large as it is decoded."""
    gallery = galleries().of_version(request.path_params["version"])
    size = request.path_params["size"]
    if gallery is None or size not in SIZES:
        return Response(status_code=404)
    id = parse_id(request.path_params["id"], gallery.engine.store)
    if id is None:
        return Response(status_code=404)
    return await pictures().response(gallery, id, size)


ROUTES = [Route("/photos/{version:str}/{id:str}/{size:str}.jpg", photo)]
