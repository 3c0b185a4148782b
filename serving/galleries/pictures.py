"""Gallery photos as JPEG: thumbnails, and views at the size that photos are decoded to.

They run on a few threads of their own, so that searches, openings and slow disks never delay
thumbnails.
"""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from starlette.responses import Response

from extractor import BadPhoto
from index_store import Store, StoreCorrupt

from ..operations import prometheus
from ..refusal import problem
from ..settings import settings
from .gallery import Gallery

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}  # the URL changes with a build
NEVER = {"Cache-Control": "no-store"}
THUMBNAIL_THREADS = 4  # each reads a few kilobytes of mapped memory
SIZES = ("thumbnail", "view")
ID = re.compile("[0-9]{1,9}")


def thumbnail_url(store: Store, id: int) -> str:
    """URL of a gallery photo's thumbnail (480 pixels), relative to the page."""
    return f"photos/{store.version}/{id}/thumbnail.jpg"


def view_url(store: Store, id: int) -> str:
    """URL of a gallery photo at working size (1024 pixels), relative to the page."""
    return f"photos/{store.version}/{id}/view.jpg"


def parse_id(text: str, store: Store) -> int | None:
    """Parse the id of a gallery photo; None if there is no such photo or it is damaged."""
    if ID.fullmatch(text) is None or int(text) >= len(store):
        return None
    return None if int(text) in store.catalogue.hidden else int(text)


class Pictures:
    """Reads and encodes pictures.

    Args:
        workers: views encoded at a time.
        waiting: maximum number of queued views.
    """

    def __init__(self, workers: int, waiting: int):
        self._thumbnails = ThreadPoolExecutor(THUMBNAIL_THREADS, thread_name_prefix="thumbnail")
        self._views = ThreadPoolExecutor(workers, thread_name_prefix="view")
        self._places = threading.BoundedSemaphore(workers + waiting)

    async def response(self, gallery: Gallery, id: int, size: str) -> Response:
        """One of SIZES of a gallery photo.

        The thumbnail replaces a view if the file is gone, has changed or cannot be read at the
        moment, or if too many views are queued; browsers must not cache it then. A photo whose
        thumbnail is damaged is 404 from then on.
        """
        loop = asyncio.get_running_loop()
        headers = FOREVER
        if size == "view":
            if self._places.acquire(blocking=False):
                view = self._views.submit(gallery.view_jpeg, id)
                view.add_done_callback(lambda _: self._places.release())
                try:
                    jpeg = await asyncio.wrap_future(view)
                    return Response(jpeg, 200, FOREVER, "image/jpeg")
                except (OSError, BadPhoto):
                    pass
            else:
                prometheus.REFUSED.labels("views waiting").inc()
            headers = NEVER
        try:
            jpeg = await loop.run_in_executor(self._thumbnails, gallery.engine.store.thumbnail, id)
        except StoreCorrupt:
            return problem(404, "The gallery has no such photo.", headers=NEVER)
        return Response(jpeg, 200, headers, "image/jpeg")


@cache
def pictures() -> Pictures:
    """The pictures of this process, with the limits of the settings."""
    return Pictures(settings().view_workers, settings().views_waiting)
