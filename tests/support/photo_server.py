"""A web server of this machine for tests: photos and documents, with what servers do wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A path's answer: status, headers and body, or what gives these for the number of the request.
Answer = tuple[int, dict[str, str], bytes]


class PhotoServer:
    """Serves `answers`, and keeps what was asked.

    Attributes:
        answers: By path.
        asked: Path and headers of each request, in order.
        url: Where it is.
    """

    def __init__(self, url: str):
        self.answers: dict[str, Answer | Callable[[int], Answer]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = url

    def put(self, path: str, body: bytes, kind: str = "image/jpeg") -> str:
        """Serve a file, with an ETag; returns its address."""
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        self.answers[path] = 200, {"Content-Type": kind, "ETag": tag}, body
        return self.url + path

    def paths(self) -> list[str]:
        """What was asked since the last call."""
        found = [path for path, _ in self.asked]
        self.asked.clear()
        return found


@contextmanager
def photo_server() -> Iterator[PhotoServer]:
    """A server, for as long as the `with` block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            number = sum(path == self.path for path, _ in served.asked)
            served.asked.append((self.path, headers))
            answer = served.answers.get(self.path, (404, {}, b""))
            status, said, body = answer(number) if callable(answer) else answer
            if status == 200 and said.get("ETag", "-") == headers.get("if-none-match"):
                status, body = 304, b""
            self.send_response(status)
            for name, value in said.items():
                self.send_header(name, value)
            if "Content-Length" not in said:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # the client has read enough

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = PhotoServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
