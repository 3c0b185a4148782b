"""No process of ours keeps or sends events of use, as onnxruntime does when it is left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from extractor import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("datasets", "evaluation", "export", "extractor", "index_store", "model", "search", "ui")
LEFT_ALONE = f"import onnxruntime; onnxruntime.InferenceSession({str(DEFAULT_MODEL)!r})"
OURS = "from extractor import Extractor; Extractor()"
OPENVINO = "from extractor import Extractor; Extractor(engine='openvino')"


SECONDS = 15  # after which onnxruntime has long looked up where to send its events


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
        f"import export.quantise; {OURS}",
        f"import numpy as np; from search.verify.ratio_test import inner_products; "
        f"inner_products(*np.ones((2, 3, 8), np.uint8), np.ones((3, 3), np.int32)); {OURS}",
        f"import app; {OURS}",
    ],
)
def test_nothing_of_ours_leaves_a_trace(code, tmp_path):
    assert traces(code, tmp_path) == []


def test_onnxruntime_left_alone_would(tmp_path):
    """So the test above can fail: events are kept in a database before they are sent."""
    assert any("onnxruntime" in trace for trace in traces(LEFT_ALONE, tmp_path))


def test_no_name_is_looked_up(tmp_path):
    """The system calls of a process that lives for a while; one left alone beside it does look."""
    running = {}
    for name, code in (("ours", f"import app; {OURS}"), ("left alone", LEFT_ALONE)):
        home = tmp_path / name
        home.mkdir()
        running[name] = subprocess.Popen(
            ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", home / "calls"]
            + [sys.executable, "-c", f"{code}; import time; time.sleep({SECONDS}); print('done')"],
            cwd=ROOT,
            env=alone(home),
            stdout=subprocess.PIPE,
            text=True,
        )
    for name, process in running.items():
        assert process.communicate(timeout=120)[0] == "done\n", name
    assert "htons(53)" in (tmp_path / "left alone" / "calls").read_text()
    assert "AF_INET" not in (tmp_path / "ours" / "calls").read_text()
    assert "nscd" not in (tmp_path / "ours" / "calls").read_text()


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
    assert importing == {"extractor/untracked.py"}
