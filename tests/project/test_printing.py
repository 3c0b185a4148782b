"""Every command prints whatever names hold, in whatever encoding the terminal has."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import printable
from evaluation.__main__ import main as evaluation
from index_store import build
from index_store.__main__ import main as index_store
from search.__main__ import main as search
from tests.conftest import GALLERY, ROOT

NAMES = {  # file name -> as it is printed where the encoding holds no emoji
    "emoji \U0001f4f7.jpg": "emoji \\U0001f4f7.jpg",
    "red\x1b[31m.jpg": "red\\x1b[31m.jpg",
    "two\nlines.jpg": "two\\nlines.jpg",
    "right\u202egpj.jpg": "right\\u202egpj.jpg",
}
UNDECODABLE = os.fsdecode(b"caf\xe9.jpg")
FORBIDDEN = ("\x1b", "\u202e", "two\nlines")
TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C"},
}
HERE, HOW = "cp1252", ("strict", "backslashreplace")  # as Python opens its two streams
ALL = "".join(NAMES) + UNDECODABLE


@pytest.fixture(params=TERMINALS)
def terminal(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """A folder whose photos have odd names."""
    folder = tmp_path_factory.mktemp("odd") / "photos"
    folder.mkdir()
    photos = ("wine.jpg", "colosseum.jpg", "colosseum-2.jpg", "bulb.jpg")
    for photo, name in zip(photos, NAMES):
        shutil.copy(GALLERY / photo, folder / name)
    shutil.copy(GALLERY / "dune.jpg", folder / UNDECODABLE)
    return folder


@pytest.fixture(scope="module")
def odd_store(odd, extractor) -> Path:
    """A store of them, itself at an odd path."""
    path = odd.parent / ALL
    build(odd, path, extractor)
    return path


def run(terminal: str, *command: str | os.PathLike, code: int = 0) -> tuple[str, str]:
    """Run a command as a process; returns what a terminal of that encoding shows."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=kept | TERMINALS[terminal],
        capture_output=True,
    )
    encoding = {"cp1252": "cp1252", "C": "utf-8"}.get(terminal, "ascii")
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == code, err
    check_plain(out + err)
    return out, err


def check_plain(printed: str) -> None:
    assert "Traceback" not in printed and "UnicodeEncodeError" not in printed
    for forbidden in FORBIDDEN:
        assert forbidden not in printed


@pytest.fixture
def here(monkeypatch) -> Callable[..., tuple[str, str]]:
    """Runs `python -m ROOM ...` in this process, which has made its imports, in a terminal of
    HERE. Commands all print through `command`, so one terminal is enough for most.
    """

    def run_here(room: str, *arguments: str | os.PathLike, code: int = 0) -> tuple[str, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), HERE, errors=how) for how in HOW)
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.chdir(ROOT)
            patch.setattr(sys, "argv", [room, *map(str, arguments)])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the room has been imported before
                runpy.run_module(room, run_name="__main__")
        printed = []
        for stream in (out, err):
            stream.flush()
            printed.append(stream.buffer.getvalue().decode(HERE))
        assert ended.value.code == code, printed[1]
        check_plain("".join(printed))
        return printed[0], printed[1]

    return run_here


def shown(terminal: str) -> list[str]:
    """The names as a terminal shows them, the undecodable one last."""
    names = list(NAMES.values())
    if terminal == "C":
        names[0] = next(iter(NAMES))
    return [*names, "caf\\udce9.jpg"]


def assert_shows_all(text: str, terminal: str) -> None:
    for name in shown(terminal):
        assert name in text, name


def test_printable_leaves_text_alone_and_escapes_the_rest():
    assert printable("Café 東京 \U0001f4f7 a\\b") == "Café 東京 \U0001f4f7 a\\b"
    for name, escaped in list(NAMES.items())[1:]:
        assert printable(name) == escaped
    assert printable(UNDECODABLE) == "caf\\udce9.jpg"


def test_search_prints_a_table_of_odd_names(odd, odd_store, terminal):
    query = odd / UNDECODABLE
    out, _ = run(terminal, "-m", "search", query, "--store", odd_store, "--sift")
    for name in shown(terminal)[:-1]:
        lines = [
            re.sub(r"  \((found|through|the same) .*\)$", "", line) for line in out.splitlines()
        ]
        assert sum(line.endswith(f"  {name}") for line in lines) == 1


def test_search_prints_json_of_odd_names(odd, odd_store, here):
    query = odd / UNDECODABLE
    out, _ = here("search", query, "--store", odd_store, "--json")
    answer = json.loads(out)
    assert answer["query"] == str(query)
    assert {hit["file"] for hit in answer["hits"]} == set(NAMES)


def test_search_complains_of_odd_names(odd_store, here):
    _, err = here("search", ALL, "--store", odd_store, code=1)
    assert_shows_all(err, HERE)


def test_index_store_prints_odd_names(odd, tmp_path, here):
    store = tmp_path / ALL
    out, _ = here("index_store", "build", odd, "--store", store)
    assert_shows_all(out, HERE)
    assert "left out: 'caf\\udce9.jpg'" in out
    _, err = here("index_store", "remove", ALL, "--store", store, code=1)
    assert_shows_all(err, HERE)


def test_evaluation_prints_odd_names(odd_store, tmp_path, here):
    groups = tmp_path / ALL
    groups.write_text(json.dumps({"a": list(NAMES)[:2], "b\x1b\n": list(NAMES)[2:]}))
    command = ("evaluation", "groups", "--by-group", "--store", odd_store)
    out, _ = here(*command, "--groups", groups)
    assert "b\\x1b\\n (  2)" in out
    _, err = here("evaluation", "report", ALL, "--out", "x.html", code=1)
    assert_shows_all(err, HERE)


def test_export_and_model_print_odd_names(tmp_path, here):
    out = tmp_path / "x.onnx"
    _, err = here("export", "--checkpoint", ALL, "--out", out, code=1)
    assert_shows_all(err, HERE)
    _, err = here("model", "train", ALL, code=1)
    assert_shows_all(err, HERE)


def test_serving_prints_its_settings(terminal):
    out, _ = run(terminal, "-m", "serving")
    assert "GEM_STORE" in out


@pytest.mark.parametrize(
    "main, command",
    [(evaluation, ["kills"]), (index_store, ["info", "--store", "x"]), (search, ["--store", "x"])],
)
def test_bad_arguments_are_repeated_in_printable_form(main, command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "x", "--red\x1b[31m"])
    assert "red\\x1b[31m" in capsys.readouterr().err


class OddServer(http.server.BaseHTTPRequestHandler):
    """Answers every search with hits of odd names."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        hits = [
            {"file": file, "confidence": "sure", "inliers": 9, "verified": True}
            for file in (*NAMES, UNDECODABLE)
        ]
        data = json.dumps({"hits": hits}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def odd_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OddServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_the_client_prints_odd_names(odd, odd_server, terminal):
    client = ROOT / "api" / "client" / "same_thing.py"
    out, _ = run(terminal, client, odd_server, odd / UNDECODABLE)
    assert [line.split(maxsplit=2)[2] for line in out.splitlines()] == shown(terminal)
    _, err = run(terminal, client, odd_server, ALL, code=1)
    assert_shows_all(err, terminal)
