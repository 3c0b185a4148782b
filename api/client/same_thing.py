"""A client of Same Thing's API, in one file. It needs httpx and nothing else.

    from same_thing import SameThing

    demo = SameThing("https://demo.example.org")
    for hit in demo.search("tour-eiffel.jpg", k=5)["hits"]:
        print(hit["file"], hit["confidence"], hit["inliers"])

From a shell: python same_thing.py https://demo.example.org tour-eiffel.jpg
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import httpx

Photo = str | PathLike | bytes | int
"""A file's path, a file's bytes, or the id of a photo of the gallery."""
PAGE = 1000  # photos per page of a list, the maximum of servers
UNSET: Any = object()
MAX_PATIENCE = 60  # seconds, the longest wait before a retry


class Problem(Exception):
    """The server refused the request; str(error) is its message.

    Attributes:
        status: HTTP status.
        retry_after: seconds to wait before a retry; None if a retry would not help.
        details: the whole answer (RFC 9457).
    """

    def __init__(self, status: int, details: dict[str, Any]):
        super().__init__(details.get("detail") or f"The server answered {status}.")
        self.status = status
        self.retry_after = details.get("retry_after")
        self.details = details


class SameThing:
    """One server.

    Args:
        url: the server's address, as in the browser.
        timeout: seconds to wait for one answer.
        retries: number of retries while the server is busy, each after the wait it names.
        client: httpx client to use; None creates one.
    """

    def __init__(
        self, url: str, timeout: float = 60, retries: int = 3, client: httpx.Client | None = None
    ):
        self._root = url.rstrip("/")
        self._retries = retries
        self._client = client or httpx.Client(timeout=timeout)

    def __enter__(self) -> SameThing:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def search(
        self,
        *photos: Photo,
        region: tuple[float, float, float, float] | None = None,
        rerank: str | None = "diffusion",
        matcher: str | None = "sift",
        k: int = 20,
        descriptor: str | None = None,
        verify: str | None = UNSET,
    ) -> dict[str, Any]:
        """Find the gallery's photos of the same thing, best first.

        Args:
            photos: one or several photos of one thing.
            region: part of a single photo to search with: left, top, right, bottom as fractions.
            rerank, matcher: names of a reranker and a matcher, None for none.
            k: maximum number of hits.
            descriptor: name of a descriptor model if the server has several.
            verify: deprecated: the former name of `matcher`.

        Returns:
            "hits", each with "file", "title", "probability", "confidence", "inliers", "thumbnail",
            "chain" (photos that lead to it), "contradicted_by" (a photo that counts against it, or
            None) and more, see the server's /api/v1; "notes"; "timings_ms"; "generation"; "model".

        Raises:
            Problem: the server refused the request.
        """
        fields = {
            "region": None if region is None else ",".join(f"{part:.6f}" for part in region),
            "rerank": rerank or "none",
            "matcher": (matcher if verify is UNSET else verify) or "none",
            "k": str(k),
            "descriptor": descriptor,
        }
        return self._post("search", photos, fields)

    def match(self, first: Photo, second: Photo, descriptor: str | None = None) -> dict[str, Any]:
        """Compare two photos. Raises Problem.

        Returns:
            "points", each [x, y, x', y'] in fractions of the photos' sizes, "homography" between
            such fractions, "inliers", "verified", "probability" and more. An uploaded photo is
            always the first if the other is a gallery photo.
        """
        return self._post("match", (first, second), {"descriptor": descriptor})

    def photos(self, descriptor: str | None = None) -> Iterator[dict[str, Any]]:
        """All photos of the gallery, by ascending id: "id", "file", "title", "thumbnail" and more.

        Raises:
            Problem: the server refused; with status 409 the gallery was rebuilt meanwhile.
        """
        return self._pages("photos", "photos", PAGE, descriptor)

    def things(self, descriptor: str | None = None) -> Iterator[dict[str, Any]]:
        """Things that several photos show, most photos first: "number", "count", "sure", "face".

        Raises:
            Problem: as `photos`.
        """
        return self._pages("things", "things", min(PAGE, 100), descriptor)

    def photos_of_thing(
        self, number: int, descriptor: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The photos that show a thing, the face first. Raises Problem, as `photos`."""
        return self._pages(f"things/{number}", "photos", PAGE, descriptor)

    def find(self, file: str, descriptor: str | None = None) -> dict[str, Any] | None:
        """The gallery photo with this exact path, None without one. Raises Problem."""
        found = self._list("photos", {"file": file, "descriptor": descriptor})
        return next(iter(found["photos"]), None)

    def photo(self, id: int) -> dict[str, Any]:
        """Describe a gallery photo. Raises Problem."""
        return self._send("GET", f"/api/v1/photos/{id}").json()

    def thumbnail(self, id: int) -> bytes:
        """JPEG of a photo of the gallery. Raises Problem."""
        return self._send("GET", f"/api/v1/photos/{id}/thumbnail").content

    def _pages(
        self, name: str, listed: str, limit: int, descriptor: str | None
    ) -> Iterator[dict[str, Any]]:
        """Iterate over all pages of a list. listed: key of the entries in each page."""
        start, generation = 0, None
        while start is not None:
            page = self._list(name, {"start": start, "limit": limit, "descriptor": descriptor})
            if page["generation"] != (generation := generation or page["generation"]):
                detail = "The gallery was rebuilt while its photos were listed. List them again."
                raise Problem(409, {"detail": detail})
            yield from page[listed]
            start = page["next"]

    def _list(self, name: str, query: dict[str, Any]) -> dict[str, Any]:
        parameters = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", f"/api/v1/{name}", params=parameters).json()

    def _post(
        self, name: str, photos: tuple[Photo, ...], fields: dict[str, str | None]
    ) -> dict[str, Any]:
        parts: list[tuple[str, Any]] = []
        for photo in photos:
            if isinstance(photo, int):
                parts.append(("id", (None, str(photo))))
            else:
                data = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
                parts.append(("photo", ("photo", data)))
        parts += [(key, (None, value)) for key, value in fields.items() if value is not None]
        return self._send("POST", f"/api/v1/{name}", files=parts).json()

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        for retries_left in range(self._retries, -1, -1):
            answer = self._client.request(method, self._root + path, **more)
            if answer.is_success:
                return answer
            try:
                details = answer.json()
            except ValueError:  # the answer of a proxy in between
                details = {}
            problem = Problem(answer.status_code, details if isinstance(details, dict) else {})
            if not retries_left or problem.status not in (429, 503) or problem.retry_after is None:
                raise problem
            time.sleep(min(problem.retry_after, MAX_PATIENCE))
        raise AssertionError("unreachable")


def printable(text: object) -> str:
    """Text with control characters, which terminals obey, as escapes such as `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # characters that its encoding lacks
    if len(sys.argv) < 3:
        print("usage: same_thing.py URL PHOTO...", file=sys.stderr)
        return 2
    url, *photos = sys.argv[1:]
    try:
        with SameThing(url) as server:
            hits = server.search(*photos)["hits"]
    except (Problem, httpx.HTTPError, OSError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    for hit in hits:
        points = hit["inliers"] if hit["verified"] else ""
        print(printable(f"{hit['confidence'] or '':6s} {points!s:>4s} {hit['file']}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
