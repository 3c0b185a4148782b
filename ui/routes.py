"""Photos by URL, so that they travel as cached files and not through the page's websocket."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.about import about
from serving.galleries import Gallery, galleries
from serving.maps import maps, packed
from serving.own_galleries import own_galleries
from serving.pictures import FOREVER, SIZES, parse_id, pictures

PRIVATE = {"Cache-Control": "private, max-age=600"}  # of a visitor's own photos


def gallery_of(request: Request) -> Gallery | None:
    """The gallery whose generation an address names, a visitor's own one too."""
    version = request.path_params["version"]
    return galleries().of_version(version) or own_galleries().of_version(version)


async def photo(request: Request) -> Response:
    """A gallery photo, as a thumbnail or as large as it is decoded."""
    gallery = gallery_of(request)
    size = request.path_params["size"]
    if gallery is None or size not in SIZES:
        return Response(status_code=404)
    id = parse_id(request.path_params["id"], gallery.engine.store)
    if id is None:
        return Response(status_code=404)
    answer = await pictures().response(gallery, id, size)
    if galleries().of_version(gallery.engine.store.version) is None:
        answer.headers.update(PRIVATE)
    return answer


async def title(request: Request) -> Response:
    """A gallery photo's title."""
    gallery = gallery_of(request)
    id = gallery and parse_id(request.path_params["id"], gallery.engine.store)
    if gallery is None or id is None:
        return Response(status_code=404)
    store = gallery.engine.store
    photo = store.catalogue.photo(id)
    text = about(store).title(photo.file, photo.title)
    return Response(text, 200, FOREVER, "text/plain; charset=utf-8")


async def similarity_map(request: Request) -> Response:
    """Where the photos lie on the map, see `maps.packed`; 404 as long as it is not made."""
    gallery = gallery_of(request)
    if gallery is None or not (made := maps().of(gallery)).done():
        return Response(status_code=404)
    return Response(packed(made.result().map), 200, FOREVER, "application/octet-stream")


ROUTES = [
    Route("/photos/{version:str}/{id:str}/title.txt", title),
    Route("/maps/{version:str}.bin", similarity_map),
    Route("/photos/{version:str}/{id:str}/{size:str}.jpg", photo),
]
