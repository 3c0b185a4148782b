"""Files of gallery photos: gone is 404 and the whole photo; what the system fails at is 503."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from api.routes import ROUTES
from extractor import ImageTooLarge, UnsupportedImage
from serving.decoding.decoder import decoder
from serving.explanation import explain as explained
from serving.explanation.explain import heat, pixels_of
from serving.galleries.galleries import galleries
from serving.refusal import Refused
from tests.conftest import GALLERY, PATIENCE, ROOT
from tests.extractor.test_decoder import children

FAILURES = [errno.EMFILE, errno.ENOSPC, errno.EIO, errno.ENOMEM]
GONE = [
    FileNotFoundError(errno.ENOENT, "No such file"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EINVAL, "Not a regular file"),
    UnsupportedImage("The photo has changed since it was indexed."),
    ImageTooLarge("The file has 99 MB."),
]
PHOTO = (GALLERY / "dune.jpg").read_bytes()


@pytest.fixture
def served(small_built, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    galleries().wait_until_open()
    return galleries().first()


@pytest.fixture
def reading(monkeypatch):
    """reading(error): reading the file of a gallery photo raises it from now on."""

    def set_error(error: Exception) -> None:
        def fails(_path, _limits):
            raise error

        monkeypatch.setattr("index_store.store.read_bytes", fails)

    return set_error


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def search(**values):
    fields = [(name, (None, value)) for name, value in values.items()]
    return TestClient(Starlette(routes=ROUTES)).post("/api/v1/search", files=fields)


def is_busy(answer) -> bool:
    return (
        answer.status_code == 503
        and answer.headers["retry-after"] == "10"
        and answer.json()["detail"] == "Busy, try again in 10 seconds."
    )


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_a_file_that_is_gone_is_404(served, reading, error):
    reading(error)
    answer = search(id="0", region="0.1,0.1,0.8,0.8")
    assert answer.status_code == 404 and "changed or is gone" in answer.json()["detail"]
    assert pixels_of(served, 0) is None


@pytest.mark.parametrize("code", FAILURES, ids=errno.errorcode.get)
def test_a_system_that_fails_is_503(served, reading, code):
    reading(failure(code))
    assert is_busy(search(id="0", region="0.1,0.1,0.8,0.8"))
    with pytest.raises(Refused, match="Busy"):
        pixels_of(served, 0)


@pytest.mark.parametrize("code", FAILURES, ids=errno.errorcode.get)
def test_so_is_a_failure_anywhere_else(served, monkeypatch, code):
    def fails(*_, **__):
        raise failure(code)

    monkeypatch.setattr(served.queries, "prepare", fails)
    assert is_busy(search(id="0"))


def test_a_decoder_without_the_processor_is_503(served, monkeypatch):
    decoder().close()
    decoder().decode(PHOTO)
    for pid in children():
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("extractor.photo.decoder.CLOCK_FACTOR", 0.01)
    client = TestClient(Starlette(routes=ROUTES))
    assert is_busy(client.post("/api/v1/search", files={"photo": PHOTO}))
    monkeypatch.undo()
    decoder().close()


def test_the_page_says_busy_and_not_that_the_file_is_gone(served, reading):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["photo"] = "colosseum.jpg"
    app.run()
    reading(failure(errno.EMFILE))
    across = next(s for s in app.slider if s.key.startswith("across"))
    across.set_value((25, 75)).run()
    assert [warning.value for warning in app.warning] == ["Busy, try again in 10 seconds."]
    assert any(button.label == "Try again" for button in app.button)


def test_a_model_file_that_cannot_be_read_once_is_read_the_next_time(served, monkeypatch):
    photo, extractor = pixels_of(served, 0), served.engine.extractor
    explained.attention.cache_clear()

    def fails(_):
        raise failure(errno.EMFILE)

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", fails)
        assert heat(extractor, photo, None) is None
    assert heat(extractor, photo, None) is not None
