"""The limits as they are without any setting: enough for a visitor, an end to a flood."""

from __future__ import annotations

import re
from itertools import takewhile

import httpx
import pytest
from playwright.sync_api import expect

from serving.settings import Settings
from tests.conftest import GALLERY, PATIENCE
from tests.support.server import serving, settle, tab
from tests.ui.test_browser import browser, drag, upload

__all__ = ["browser"]  # a fixture
API_CALLS = 10


@pytest.fixture(scope="module")
def address(gallery_path):
    """A server whose limits are the defaults: empty variables count as absent."""
    limits = [name for name in Settings.model_fields if "_per_minute" in name]
    with serving(gallery_path, **{f"GEM_{name.upper()}": "" for name in limits}) as url:
        yield url


def test_a_visitor_is_never_refused(browser, address):
    """What a visitor does in some minutes, in less."""
    visit = tab(browser, viewport={"width": 1360, "height": 900})
    refusals: list[str] = []
    visit.on("response", lambda r: refusals.append(r.url) if r.status in (429, 503) else None)
    visit.on("websocket", lambda w: w.on("close", lambda _: refusals.append(w.url)))
    visit.goto(address)
    for photo in ("tour-eiffel.jpg",):
        upload(visit, photo)
        for toggle in ("SIFT verification", "Diffusion") * 2:
            visit.get_by_text(toggle, exact=True).click()
            settle(visit)
        expect(visit.get_by_test_id("stAlert")).to_have_count(0)  # a failure names the refusal
        visit.get_by_role("button", name="Show weaker matches").click()
        expect(visit.get_by_role("heading", name="Weaker matches")).to_be_visible()
        visit.get_by_text("Compare", exact=True).click()
        expect(visit.get_by_role("heading", name="Rerank off")).to_be_visible()
        visit.get_by_text("Compare", exact=True).click()
        expect(visit.get_by_role("heading", name="Rerank off")).to_have_count(0)
        settle(visit)
        visit.get_by_role("button", name="Part").click()
        area = visit.locator(".area img")
        expect(area).to_be_visible()
        settle(visit)
        box = area.bounding_box()
        near, far = (
            (box["x"] + a * box["width"], box["y"] + a * box["height"]) for a in (0.2, 0.9)
        )
        drag(visit, near, far)
        expect(visit.get_by_text("A part of it")).to_be_visible()
        settle(visit)
        visit.keyboard.press("Escape")
    with httpx.Client(base_url=f"{address}/api/v1", timeout=PATIENCE) as api:
        for _ in range(API_CALLS):
            answer = api.post("/search", files={"photo": (GALLERY / "petra.jpg").read_bytes()})
            assert answer.status_code == 200
    expect(visit.get_by_text(re.compile("Too many requests|[Bb]usy"))).to_have_count(0)
    assert not refusals
    visit.close()


def test_an_address_that_floods_is_refused_until_the_minute_is_over(address):
    """Every call counts, so the cheapest is made: ten a second are enough."""
    limit = Settings.requests_per_minute_address
    with httpx.Client(base_url=f"{address}/api/v1", timeout=PATIENCE) as api:
        answers = (api.get("/photos/0") for _ in range(2 * limit))
        granted = len(list(takewhile(lambda answer: answer.status_code == 200, answers)))
        refused = api.get("/photos/0")
    assert granted >= limit - API_CALLS
    assert refused.status_code == 429
    seconds = int(refused.headers["Retry-After"])
    unit = "second" if seconds == 1 else "seconds"
    assert 1 <= seconds <= 60 and refused.json()["retry_after"] == seconds
    sentence = f"Too many requests. Try again in {seconds} {unit}."
    assert refused.json()["detail"] == sentence
