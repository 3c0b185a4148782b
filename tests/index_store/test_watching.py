"""A store that follows its folders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from index_store import NothingToIndex, Store, build
from index_store.sources.watching import follow_folders
from tests.conftest import GALLERY, ROOT, QuickExtractor
from tests.support.server import until


@pytest.fixture
def followed(tmp_path):
    """Follows a folder that is there; yields it, and what was called in the order of the calls."""
    folder, store, called = tmp_path / "photos", tmp_path / "photos" / "store", []
    store.mkdir(parents=True)
    stop, failing = threading.Event(), []

    def update():
        # Read before "update" is noted: a test that has seen the note may set the next failure.
        error = failing.pop() if failing else None
        called.append("update")
        (store / "CURRENT").write_text(str(len(called)))
        if error:
            raise error

    thread = threading.Thread(
        target=follow_folders,
        args=([folder], store, update, lambda error: called.append(str(error)), stop, 0.1, 3600),
    )
    thread.start()
    yield folder, called, failing
    stop.set()
    thread.join()


def test_it_updates_at_once_and_after_each_change_but_not_after_its_own(followed):
    folder, called, _ = followed
    until(lambda: called == ["update"])
    (folder / "a.jpg").write_bytes(b"1")
    until(lambda: len(called) == 2)
    (folder / "sub").mkdir()
    until(lambda: len(called) == 3)
    (folder / "sub" / ".samethingignore").write_text("x\n")
    until(lambda: len(called) == 4)
    (folder / ".hidden.jpg").write_bytes(b"1")
    (folder / "sub" / "b.jpg").write_bytes(b"1")
    until(lambda: len(called) >= 5)
    assert set(called) == {"update"} and len(called) <= 6


def test_what_fails_is_said_and_tried_again(followed):
    folder, called, failing = followed
    until(lambda: called == ["update"])
    failing.append(NothingToIndex("There is no folder."))
    (folder / "a.jpg").write_bytes(b"1")
    until(lambda: called == ["update", "update", "There is no folder."])

    def noticed():
        (folder / "b.jpg").write_bytes(os.urandom(8))
        return len(called) > 3

    until(noticed)
    assert called[3] == "update"


def test_the_command_takes_in_what_comes(photos, tmp_path):
    """The whole command in a process of its own, with a model that is quick."""
    store = tmp_path / "s"
    build(photos, store, QuickExtractor())
    code = (
        "import signal, sys\n"
        # A shell starts background jobs with SIGINT ignored, and so are their children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from index_store import __main__ as command, commands\n"
        "from tests.conftest import QuickExtractor\n"
        "commands.extractor_of = lambda *_: QuickExtractor()\n"
        f"sys.exit(command.main(['watch', '--store', {str(store)!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr.readline().startswith("watching ")
        shutil.copy(GALLERY / "petra.jpg", photos)
        until(lambda: len(Store(store)) == 13)
        for name in ("wine.jpg", "dune.jpg", "igloo.jpg", "bulb.jpg"):
            (photos / name).unlink()
        assert "4 of 13 photos are gone" in process.stderr.readline()
        assert len(Store(store)) == 13
    finally:
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate()
    assert process.returncode == 130
    assert printed.startswith("came: 1, changed: 0, moved: 0, gone: 0\n13 photos, 0 left out")
