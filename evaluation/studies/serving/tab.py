"""A visitor's tab without a browser: Streamlit's websocket protocol, as far as the page needs it.

Omits what a browser does besides: drawing, fetching thumbnails, and caching messages so that they
need not be sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

GRID, MATCH = "results", "match"  # our components
TOGGLES = ("Diffusion", "SIFT verification")
EARLY = ForwardMsg.FINISHED_EARLY_FOR_RERUN


@dataclass
class Answer:
    """What one run of the page's script has drawn.

    Attributes:
        hits: file names of the results, in order; empty if there are none.
        alerts: sentences in boxes: refusals, problems.
        matched: whether the match viewer was drawn.
        uploader: id of the uploader that starts a search.
        failed: whether the script failed.
    """

    hits: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    matched: bool = False
    uploader: str = ""
    failed: bool = False


class Tab:
    """One open page.

    Args:
        url: URL of the server.
        address: the visitor's IP, for the server's quotas; the server must trust this machine.

    Attributes:
        answer: current content of the page.
        shown: time of the first hits after the last click, possibly not in their final order, as
            `time.perf_counter`.
        toggles: state of each of TOGGLES.
    """

    def __init__(self, url: str, address: str):
        self._url, self._headers = url, {"X-Forwarded-For": address}
        self._client = httpx.AsyncClient(headers=self._headers, timeout=120)
        self._socket: ClientConnection | None = None
        self._ids: dict[str, str] = {}  # widgets, by label or kind
        self.toggles = dict.fromkeys(TOGGLES, True)
        self.answer = Answer()
        self.shown = 0.0
        self._query = ""
        self._session = ""
        self._files = itertools.count()

    async def open(self, query: str = "") -> Answer:
        """Open the page. query: query string of its URL."""
        self._query = query
        await self._client.get(f"{self._url}/_stcore/health")
        self._socket = await connect(
            f"{self._url.replace('http', 'ws', 1)}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            additional_headers=self._headers,
            max_size=None,
            open_timeout=120,
        )
        return await self._run()

    async def toggle(self, label: str) -> Answer:
        """Click one of TOGGLES."""
        self.toggles[label] = not self.toggles[label]
        return await self._run()

    async def search_with(self, file: str) -> Answer:
        """Click a hit's magnifier. file: any photo of the gallery."""
        return await self._run(self._clicked("search", file))

    async def open_hit(self, file: str) -> Answer:
        """Click a hit, to see the evidence."""
        return await self._run(self._clicked("open", file))

    async def upload(self, data: bytes) -> tuple[str, Answer]:
        """Upload a photo.

        Returns:
            The sentence if the server rejects it; and the content of the page.
        """
        message = BackMsg()
        message.file_urls_request.request_id = f"files-{next(self._files)}"
        message.file_urls_request.session_id = self._session
        message.file_urls_request.file_names.append("photo.jpg")
        await self._send(message)
        while (answer := await self._receive()).WhichOneof("type") != "file_urls_response":
            pass
        urls = answer.file_urls_response.file_urls[0]
        token = {"X-Xsrftoken": self._client.cookies.get("_streamlit_xsrf", "")}
        form = {"file": ("photo.jpg", data)}
        address = f"{self._url}/{urls.upload_url.lstrip('/')}"
        response = await self._client.put(address, files=form, headers=token)
        if not response.is_success:
            return response.json()["detail"], self.answer
        state = WidgetState(id=self.answer.uploader)
        info = state.file_uploader_state_value.uploaded_file_info.add()
        info.name, info.size, info.file_id = "photo.jpg", len(data), urls.file_id
        info.file_urls.CopyFrom(urls)
        return "", await self._run(state)

    async def api_search(self, photo: bytes) -> httpx.Response:
        """Search with the API, from the same address."""
        return await self._client.post(f"{self._url}/api/v1/search", files={"photo": photo})

    async def close(self) -> None:
        """Close the tab."""
        if self._socket is not None:
            await self._socket.close()
        await self._client.aclose()

    def _clicked(self, event: str, file: str) -> WidgetState:
        """Widget state for a click in our grid."""
        id = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{self._ids[GRID]}__events"
        return WidgetState(id=id, json_trigger_value=json.dumps([{"event": event, "value": file}]))

    async def _run(self, *more: WidgetState) -> Answer:
        """Run the script, and wait until it has finished."""
        message = BackMsg()
        message.rerun_script.query_string = self._query
        states = message.rerun_script.widget_states.widgets
        for label, is_on in self.toggles.items():
            if label in self._ids:
                states.add(id=self._ids[label], bool_value=is_on)
        states.extend(more)
        await self._send(message)
        answer, self.shown = Answer(), 0.0
        while True:
            message = await self._receive()
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self._session = message.new_session.initialize.session_id
                answer = Answer(alerts=answer.alerts)
            elif kind == "page_info_changed":
                self._query = message.page_info_changed.query_string
            elif kind == "delta":
                self._note(message.delta.new_element, answer)
                if answer.hits and not self.shown:
                    self.shown = time.perf_counter()
            elif kind == "script_finished" and message.script_finished != EARLY:
                self.answer = answer
                return answer

    def _note(self, element: Any, answer: Answer) -> None:
        """Record the relevant parts of a drawn element."""
        kind = element.WhichOneof("type")
        if kind == "bidi_component":
            component = element.bidi_component
            self._ids[component.component_name] = component.id
            if component.component_name == GRID:
                panes = json.loads(component.json or component.mixed.json)["panes"]
                answer.hits += [hit["file"] for pane in panes for hit in pane["hits"]]
            answer.matched |= component.component_name == MATCH
        elif kind == "checkbox":
            self._ids[element.checkbox.label] = element.checkbox.id
        elif kind == "file_uploader" and not answer.uploader:
            answer.uploader = element.file_uploader.id  # later ones add to the query
        elif kind == "alert":
            answer.alerts.append(element.alert.body)
        elif kind == "exception":
            answer.failed = True

    async def _send(self, message: BackMsg) -> None:
        await self._socket.send(message.SerializeToString())

    async def _receive(self) -> ForwardMsg:
        async with asyncio.timeout(120):
            return ForwardMsg.FromString(await self._socket.recv())
