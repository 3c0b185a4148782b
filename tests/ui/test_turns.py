"""What a visitor sees of the queue: the place that moves, a polite no, and toggles at once."""

from __future__ import annotations

import threading

import pytest
from streamlit.runtime.scriptrunner import StopException
from streamlit.testing.v1 import AppTest

from serving.queue.admission import Admission, Ticket
from tests.conftest import GALLERY, PATIENCE, ROOT
from tests.ui.test_page import html_of, labels, panes, press, upload
from ui.state import turns


@pytest.fixture
def app(small_built, monkeypatch) -> AppTest:
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)


class Queue:
    """The page's admission, of one worker that can be kept at work. Its lane for quick work is."""

    def __init__(self, waiting: int):
        self.admission = Admission(1, waiting, waiting)
        self.gates: list[threading.Event] = []
        self.tickets: list[Ticket] = []
        self.in_lane = threading.Event()

    def occupy(self, visitor: str) -> threading.Event:
        """Work of another visitor. Gives what ends it."""
        begun, may_end = threading.Event(), threading.Event()
        self.gates.append(may_end)

        def work():
            begun.set()
            assert may_end.wait(PATIENCE)

        self.tickets.append(self.admission.submit(visitor, work))
        if len(self.gates) == 1:
            assert begun.wait(PATIENCE)
            self.admission.submit("in the lane", self.in_lane.wait, quick=True)
        return may_end


@pytest.fixture
def queue(monkeypatch):
    """Room for three that wait."""
    made = Queue(3)
    monkeypatch.setattr(turns, "admission", lambda: made.admission)
    yield made
    for gate in (*made.gates, made.in_lane):
        gate.set()
    made.admission.close()


def test_the_place_in_the_queue_moves_and_then_there_are_hits(app, queue, monkeypatch):
    gates = [queue.occupy(name) for name in ("at work", "next", "after")]
    said = []

    def line(place, doing):
        said.append(turns_line(place, doing))
        if place < len(gates):
            gates[len(gates) - 1 - place].set()  # one after the other ends its work
        return said[-1]

    turns_line = turns.waiting_line
    monkeypatch.setattr(turns, "waiting_line", line)
    monkeypatch.setattr(turns, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(turns, "POLL_SECONDS", 0.01)
    # Nothing is known of it yet, whatever was tested before.
    app.query_params["photo"] = "brandenburg-gate.jpg"
    app.run()
    assert panes(app)[0]["hits"][0]["file"] == "brandenburg-gate-2.jpg"
    moved = list(dict.fromkeys(said))
    assert ["2 ahead of you" in moved[0], "1 ahead of you" in moved[1]] == [True, True]
    assert all("ahead" not in one for one in moved[2:])
    assert "ahead of you" not in html_of(app), "and it is gone when the hits are there"


def test_past_the_bound_there_is_a_sentence_and_everything_else_stays(app, queue):
    upload(app, "taj-mahal.jpg")
    before = panes(app)
    gates = [queue.occupy(name) for name in "abcd"]
    across = next(s for s in app.slider if s.key.startswith("across"))
    across.set_value((25, 75)).run()
    assert not app.exception and app.warning[0].value.startswith("Busy, try again in")
    assert panes(app) == before, "the hits of before"
    assert {"New search", "Try again"} <= set(labels(app)) and len(app.toggle) == 3
    for gate in gates:
        gate.set()
    assert all(ticket.wait(PATIENCE) for ticket in queue.tickets)
    press(app, "Try again")
    assert not app.warning and panes(app) and panes(app) != before


def test_an_upload_past_the_bound_leaves_the_search_that_was(app, queue):
    upload(app, "taj-mahal.jpg")
    before = panes(app)
    for name in "abcd":
        queue.occupy(name)
    data = (GALLERY / "dune.jpg").read_bytes()
    app.file_uploader[0].set_value([("dune.jpg", data, "image/jpeg")]).run()
    assert (
        "Busy, try again in" in app.warning[0].value and "choose it again" in app.warning[0].value
    )
    assert panes(app) == before and "taj-mahal.jpg" in html_of(app)
    assert "arrived" not in app.session_state, "its bytes are let go"


def test_a_first_search_past_the_bound_keeps_the_start(app, queue):
    for name in "abcd":
        queue.occupy(name)
    upload(app, "dune.jpg")
    assert "Busy, try again in" in app.warning[0].value
    assert "very same thing" in html_of(app) and "uploaded" not in app.session_state


def test_what_is_known_does_not_queue(app, queue):
    """Toggles, and the evidence of hits, whatever the engine is doing."""
    upload(app, "taj-mahal.jpg")
    both = panes(app)
    for name in "abcd":
        queue.occupy(name)
    for key in ("diffusion", "sift"):
        app.toggle(key=key).set_value(False).run()
        assert not app.warning and panes(app)
    app.toggle(key="compare").set_value(True).run()
    assert not app.warning and len(panes(app)) == 2
    app.toggle(key="compare").set_value(False).run()
    for key in ("diffusion", "sift"):
        app.toggle(key=key).set_value(True).run()
    assert panes(app) == both


def test_who_clicks_or_leaves_while_waiting_gives_the_place_up(app, queue, monkeypatch):
    queue.occupy("somebody")

    def stopped(place, doing):
        assert queue.admission.waiting == 1
        raise StopException  # as Streamlit does at the next call, when a script is to stop

    monkeypatch.setattr(turns, "waiting_line", stopped)
    monkeypatch.setattr(turns, "SILENT_SECONDS", 0.01)
    app.query_params["photo"] = "colosseum.jpg"
    app.run()
    assert queue.admission.waiting == 0


def test_too_many_searches_in_a_minute(app, monkeypatch):
    monkeypatch.setenv("GEM_SEARCHES_PER_MINUTE", "1")
    upload(app, "taj-mahal.jpg")
    before = panes(app)
    app.toggle(key="sift").set_value(False).run()
    assert panes(app) and not app.warning, "what is known is not counted"
    app.toggle(key="sift").set_value(True).run()
    across = next(s for s in app.slider if s.key.startswith("across"))
    across.set_value((25, 75)).run()
    assert app.warning[0].value.startswith("Too many requests. Try again in")
    assert panes(app) == before
