"""A live server, as a visitor meets it; and Streamlit's websocket, as far as tests speak it.

Limits of time are generous: they end a test that would hang, on a busy machine as on a quiet one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from tests.conftest import PATIENCE, ROOT

BROWSER_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update"
).split()
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
TWO_FRAMES = "new Promise(end => requestAnimationFrame(() => requestAnimationFrame(end)))"
# No animation runs, in shadow trees neither, but those without an end, which say that work goes on.
AT_REST = """() => {
  const roots = [document];
  for (const root of roots) {
    for (const { shadowRoot } of root.querySelectorAll("*")) if (shadowRoot) roots.push(shadowRoot);
  }
  return roots
    .flatMap((root) => root.getAnimations())
    .filter((one) => one.playState === "running")
    .every((one) => one.effect.getComputedTiming().endTime === Infinity);
}"""
expect.set_options(timeout=1000 * PATIENCE)
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


def tab(browser: Browser, **options: Any) -> Page:
    """A new page with PATIENCE. options: of `Browser.new_page`."""
    page = browser.new_page(**options)
    page.set_default_timeout(1000 * PATIENCE)
    return page


def settle(page: Page) -> None:
    """Wait for the answer that stays, for the end of the script's run, and until nothing moves.

    Until then parts of the last run stand beside parts of the new one.
    """
    app, ended = page.get_by_test_id("stApp"), ("data-test-script-state", "notRunning")
    expect(app).to_have_attribute(*ended)
    expect(page.locator('.panes[aria-busy="true"]')).to_have_count(0)
    expect(app).to_have_attribute(*ended)
    rest(page)


def rest(page: Page) -> None:
    """Wait until two frames are drawn and nothing moves."""
    page.evaluate(TWO_FRAMES)
    page.wait_for_function(AT_REST)


@contextmanager
def serving(
    store: Path, log: Path | None = None, project: Path = ROOT, **settings: str
) -> Iterator[str]:
    """Serve a store. Gives the address, once it is ready.

    Args:
        store: its folder.
        project: where its code and its models are.
        log: where the server's stderr goes, instead of the tests'.
        settings: environment variables.
    """
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = os.environ | {"GEM_STORE": str(store)} | settings
    with log.open("w") if log else nullcontext() as stderr:
        server = subprocess.Popen(command, cwd=project, env=environment, stderr=stderr)
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert server.poll() is None, "the server has ended"
        try:
            return httpx.get(f"{url}/readyz", timeout=PATIENCE).is_success
        except httpx.TransportError:
            return False

    try:
        until(is_ready)
        yield url
    finally:
        server.terminate()
        server.wait()


def until(condition: Callable[[], object]) -> None:
    """Wait until something comes true by itself. Raises AssertionError after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command: list[str], url: str, **options) -> Iterator[subprocess.Popen]:
    """A program, once it answers at an address."""
    process = subprocess.Popen(command, **options)

    def answers() -> bool:
        assert process.poll() is None, "it has ended"
        try:
            httpx.get(url, verify=False, timeout=PATIENCE)
            return True
        except httpx.TransportError:
            return False

    try:
        until(answers)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def nginx(folder: Path, site: str, url: str) -> Iterator[None]:
    """nginx with all its files in a folder, once it answers.

    Args:
        folder: an empty one, or one whose files `site` names.
        site: what stands in its `http` block.
        url: what to ask it for.
    """
    bodies = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}} http {{ {bodies}\n{site} }}"
    )
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with running(command, url, stderr=subprocess.DEVNULL):
        yield


class Session:
    """A visitor's tab: its websocket, and the session that Streamlit gave it."""

    def __init__(self, url: str, **headers: str):
        self.url, self.headers = url, headers
        self.socket: ClientConnection = connect(
            f"{url.replace('http', 'ws')}/_stcore/stream",
            subprotocols=["streamlit"],
            additional_headers=headers,
            max_size=None,
            close_timeout=0.5,
            legacy=True,
        )
        message = BackMsg()
        message.rerun_script.query_string = ""
        self.socket.send(message.SerializeToString())
        self.id = self.until("new_session").new_session.initialize.session_id

    def until(self, kind: str) -> ForwardMsg:
        """The next message of a kind."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(self.socket.recv(PATIENCE))
            if message.WhichOneof("type") == kind:
                return message

    def put(self, data: object, file: str = "F") -> httpx.Response:
        """Upload a file under an id. data: bytes, or an iterator of a whole multipart body."""
        with httpx.Client(headers=self.headers, timeout=PATIENCE) as client:
            client.get(f"{self.url}/_stcore/health")
            token = {"X-Xsrftoken": client.cookies.get("_streamlit_xsrf")}
            address = f"{self.url}/_stcore/upload_file/{self.id}/{file}"
            if isinstance(data, bytes):
                return client.put(address, files={file: ("x.jpg", data)}, headers=token)
            token["Content-Type"] = "multipart/form-data; boundary=b"
            return client.put(address, content=data, headers=token)

    def leave(self) -> None:
        """Close the tab."""
        self.socket.close()
