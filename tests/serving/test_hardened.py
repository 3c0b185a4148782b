"""What the server says of itself and of its visitors: headers, names, log."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from streamlit import config

from serving.middleware.hosts import SENTENCE, KnownHosts
from serving.middleware.security_headers import HEADERS, SecurityHeaders
from serving.operations.logs import JsonLines, without_addresses
from serving.operations.prometheus import REFUSED
from serving.operations.streamlit_options import options
from serving.settings import Settings
from tests.conftest import ROOT


async def hello(_request):
    return PlainTextResponse("hello")


async def greets(socket):
    await socket.accept()
    await socket.send_text("hello")


APP = Starlette(routes=[Route("/", hello), WebSocketRoute("/", greets)])

# -- names -----------------------------------------------------------------------------------------


@pytest.fixture
def names():
    """The server goes by names of its own while the test runs."""
    before = config.get_option("server.allowedHosts")

    def set_to(hosts: str) -> None:
        known = options(Settings(hosts=hosts))["server.allowedHosts"]
        config.set_option("server.allowedHosts", known)

    yield set_to
    config.set_option("server.allowedHosts", before)


@pytest.mark.parametrize(
    "host, known",
    [
        ("demo.example.org", True),
        ("DEMO.example.org:443", True),
        ("a.b.example.net", True),
        ("localhost:8501", True),
        ("127.0.0.1:8501", True),
        ("[::1]:8501", True),
        ("evil.example", False),
        ("demo.example.org.evil.example", False),
        ("example.net", False),
        ("demo.example.org@evil.example", False),
        ("", False),
    ],
)
def test_only_known_names_are_served(names, host, known):
    names("demo.example.org, *.example.net")
    client = TestClient(KnownHosts(APP))
    answer = client.get("/", headers={"Host": host})
    counter = REFUSED.labels("wrong host")
    before = counter._value.get()
    if known:
        assert answer.text == "hello"
        with client.websocket_connect("/", headers={"Host": host}) as socket:
            assert socket.receive_text() == "hello"
    else:
        assert answer.status_code == 421 and answer.json()["detail"] == SENTENCE
        with pytest.raises(WebSocketDisconnect) as closed:
            with client.websocket_connect("/", headers={"Host": host}):
                pass
        assert closed.value.code == 1008 and counter._value.get() == before + 1


def test_without_a_setting_a_server_is_for_this_machine(names):
    names("")
    client = TestClient(KnownHosts(APP), base_url="http://localhost")
    assert client.get("/").text == "hello"
    assert client.get("/", headers={"Host": "demo.example.org"}).status_code == 421
    names("*")
    assert client.get("/", headers={"Host": "demo.example.org"}).text == "hello"


# -- headers ---------------------------------------------------------------------------------------


def test_every_answer_has_the_headers():
    headers = TestClient(SecurityHeaders(APP)).get("/missing").headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_policy_names_streamlits_own_script_and_nobody_elses():
    index = (Path(streamlit.__file__).parent / "static" / "index.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", index, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [part.strip() for part in HEADERS["Content-Security-Policy"].split(";")]
    policy = {name: sources.split() for name, _, sources in (p.partition(" ") for p in parts)}
    assert f"'sha256-{digest}'" in policy["script-src"]
    assert policy["frame-ancestors"] == policy["object-src"] == ["'none'"]
    assert policy["default-src"] == ["'self'"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "data:", "*"} & set(policy["script-src"])


# -- log -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, kept",
    [
        ("from 203.0.113.9:443", "from [address]:443"),
        ("('10.0.0.1', 5) gone", "('[address]', 5) gone"),
        ("2001:db8::1 and ::1 and ::ffff:1.2.3.4", "[address] and [address] and "),
        ("fe80::1%eth0 said", "[address] said"),
        ("at 12:34:56, in engine.py:120", "at 12:34:56, in engine.py:120"),
        ("onnxruntime 1.32.0, photos: 310", "onnxruntime 1.32.0, photos: 310"),
        ("serving::logs", "serving::logs"),
    ],
)
def test_addresses_are_withheld(text, kept):
    assert without_addresses(text).startswith(kept)
    assert "1.2.3.4" not in without_addresses(text)


def test_a_line_says_what_and_where_but_no_more():
    try:
        open("/srv/secret/holiday.jpg")
    except OSError:
        record = logging.LogRecord(
            "serving", logging.ERROR, __file__, 1, "two\nlines %s", ("ä",), sys.exc_info()
        )
    line = JsonLines().format(record)
    assert "\n" not in line and "holiday" not in line and "/srv" not in line
    found = json.loads(line)
    assert found["message"] == "two\nlines ä" and found["error"] == "FileNotFoundError"
    assert re.fullmatch(r"serving/test_hardened\.py:\d+ test_a_line\w+", found["where"][0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found["time"])


def test_everything_that_logs_does_so_in_lines():
    """Streamlit, uvicorn, warnings and threads, too: in a process of its own."""
    code = """
import logging, threading, warnings, streamlit.logger
early = streamlit.logger.get_logger("streamlit.early")
from serving.operations.logs import log_as_json
log_as_json()
early.warning("one")
streamlit.logger.get_logger("streamlit.late").warning("two")
logging.getLogger("uvicorn.error").error("three")
logging.getLogger("uvicorn.error").info("not this")
warnings.warn("four")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"][:5] for line in lines[:3]] == ["one", "two", "three"]
    assert "four" in lines[3]["message"] and lines[4]["error"] == "ZeroDivisionError"
    assert len(lines) == 5
