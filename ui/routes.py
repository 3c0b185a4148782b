"""HTTP routes of the page: photos, as cached files instead of websocket messages, and the pages
that have URLs of their own.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving.galleries.about import about
from serving.galleries.galleries import galleries
from serving.galleries.gallery import Gallery
from serving.galleries.maps import maps, packed
from serving.galleries.own import own_galleries
from serving.galleries.pictures import FOREVER, SIZES, parse_id, pictures
from serving.middleware.areas import area
from serving.refusal import Refused

PAGES = ("explore", "how", "own", "figures")  # all but the first
PAGE_PARAMETER = "go"  # URL parameter of the first page that names one of them
PRIVATE = {"Cache-Control": "private, max-age=600"}  # for visitors' own photos


def gallery_of(request: Request) -> Gallery | None:
    """The gallery whose generation a URL names, including visitors' own galleries."""
    version = request.path_params["version"]
    return galleries().of_version(version) or own_galleries().of_version(version)


async def photo(request: Request) -> Response:
    """A gallery photo, as a thumbnail or at working size."""
    gallery = gallery_of(request)
    size = request.path_params["size"]
    if gallery is None or size not in SIZES:
        raise no_picture()
    id = parse_id(request.path_params["id"], gallery.engine.store)
    if id is None:
        raise no_picture()
    answer = await pictures().response(gallery, id, size)
    if galleries().of_version(gallery.engine.store.version) is None:
        answer.headers.update(PRIVATE)
    return answer


async def title(request: Request) -> Response:
    """A gallery photo's title."""
    gallery = gallery_of(request)
    id = gallery and parse_id(request.path_params["id"], gallery.engine.store)
    if gallery is None or id is None:
        raise no_picture()
    store = gallery.engine.store
    photo = store.catalogue.photo(id)
    text = about(store).title(photo.file, photo.title)
    return Response(text, 200, FOREVER, "text/plain; charset=utf-8")


async def similarity_map(request: Request) -> Response:
    """Positions of the photos on the map, see `maps.packed`; 404 until they are computed."""
    gallery = gallery_of(request)
    overview = None if gallery is None else maps().of(gallery)
    if overview is None or not overview.done() or overview.exception() is not None:
        raise Refused(404, "There is no such map, or it is still being built.")
    return Response(packed(overview.result().map), 200, FOREVER, "application/octet-stream")


def no_picture() -> Refused:
    return Refused(404, "There is no such picture. Picture URLs change with each build.")


async def page(request: Request) -> Response:
    """Redirect a page's URL to the first page, which opens it.

    Otherwise Streamlit's script would first look for the server below that URL and leave errors in
    the browser's console.
    """
    query = urlencode({**request.query_params, PAGE_PARAMETER: request.url.path.rpartition("/")[2]})
    return RedirectResponse(f"./?{query}", 307)


ROUTES = [
    *(Route(f"/{path}", page) for path in PAGES),
    *area(
        "/photos",
        [
            Route("/photos/{version:str}/{id:str}/title.txt", title),
            Route("/photos/{version:str}/{id:str}/{size:str}.jpg", photo),
        ],
    ),
    *area("/maps", [Route("/maps/{version:str}.bin", similarity_map)]),
]
