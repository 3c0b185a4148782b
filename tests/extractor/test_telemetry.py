"""No process of ours keeps or sends events of use, as onnxruntime does when it is left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from extractor import DEFAULT_MODEL
from tests.conftest import PATIENCE
from tests.support.server import until

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    *("api", "evaluation", "export", "extractor", "index_store"),
    *("matching", "model", "search", "serving", "ui"),
)
LEFT_ALONE = f"import onnxruntime; onnxruntime.InferenceSession({str(DEFAULT_MODEL)!r})"
OURS = "from extractor import Extractor; Extractor()"
OPENVINO = "from extractor import Extractor; Extractor(engine='openvino')"


def alone(home: Path) -> dict[str, str]:
    """An environment in which nothing but the code under test keeps onnxruntime silent."""
    # It is so by itself where CI is set.
    kept = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith(("ORT_", "XDG_"))}
    return {**kept, "HOME": str(home)}


def traces(code: str, home: Path) -> list[str]:
    """Files that a fresh process leaves in a fresh home, and its sockets when it is done."""
    watch = (
        "; import os\nfor fd in os.listdir('/proc/self/fd'):\n"
        "  try: link = os.readlink('/proc/self/fd/' + fd)\n"
        "  except OSError: continue\n"
        "  if link.startswith('socket:'): print(link)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + watch],
        cwd=ROOT,
        env=alone(home),
        capture_output=True,
        text=True,
        check=True,
    )
    files = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return files + done.stdout.splitlines()


@pytest.mark.parametrize(
    "code",
    [
        OURS,
        OPENVINO,
        f"import numpy as np; from matching.ratio_test import inner_products; "
        f"inner_products(*np.ones((2, 3, 8), np.uint8), np.ones((3, 3), np.int32)); {OURS}",
        f"import app; {OURS}",
    ],
)
def test_nothing_of_ours_leaves_a_trace(code, tmp_path):
    assert traces(code, tmp_path) == []


def test_onnxruntime_left_alone_would(tmp_path):
    """So the test above can fail: events are kept in a database before they are sent."""
    assert any("onnxruntime" in trace for trace in traces(LEFT_ALONE, tmp_path))


class Traced:
    """A process whose system calls for connections are written down while it lives.

    Args:
        code: what it does first; then it prints "done".
        folder: an empty one, for its home and its calls.
        last: what it does when it is told to end.
    """

    def __init__(self, code: str, folder: Path, last: str = "pass"):
        home = folder / "home"
        home.mkdir(parents=True)
        self.file = folder / "calls"
        self.file.touch()
        script = f"{code}\nprint('done', flush=True)\ninput()\n{last}"
        self.process = subprocess.Popen(
            ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", str(self.file)]
            + [sys.executable, "-c", script],
            cwd=ROOT,
            env=alone(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> list[str]:
        return self.file.read_text().splitlines()

    def wait(self) -> None:
        """Until the first part is done."""
        assert "done\n" in iter(self.process.stdout.readline, "")

    def end(self) -> None:
        self.process.communicate("\n", timeout=PATIENCE)
        assert not self.process.returncode


@pytest.fixture
def traced():
    """What starts a `Traced`; all have ended after the test."""
    started: list[Traced] = []

    def start(*given, **named) -> Traced:
        started.append(Traced(*given, **named))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


SEARCH = """
import app
from pathlib import Path
from extractor import Extractor
from index_store import Store
from search import Engine
extractor = Extractor()
engine = Engine(Store(Path({store!r}), extractor), extractor)
assert engine.search(engine.prepare(0), "diffusion", "sift", 2).hits
"""
CONNECT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("127.0.0.1", 9))
"""


def test_no_name_is_looked_up(small_built, traced, tmp_path):
    """From a search on it lives for longer than one that is left alone needs to look a name up.

    At last it connects to a port of this machine, so that the tracer is seen to see it.
    """
    ours = traced(SEARCH.format(store=str(small_built / "store")), tmp_path / "ours", CONNECT)
    ours.wait()
    other = traced(LEFT_ALONE, tmp_path / "left alone")
    until(lambda: any("htons(53)" in call for call in other.calls()))
    other.end()
    ours.end()
    calls = ours.calls()
    (ours_last,) = (call for call in calls if "AF_INET" in call)
    assert "htons(9)" in ours_last and not any("nscd" in call for call in calls)


def test_both_are_imported_at_one_place():
    importing = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if re.search(
            r"^\s*(import (onnxruntime|openvino)\b|from (onnxruntime|openvino) import)",
            path.read_text(),
            re.M,
        )
    }
    assert importing == {"extractor/descriptor/untracked.py"}
