"""Components that Streamlit calls again on the same element, as it does when data or theme change.

The clean-up of the calls before is never called, only that of the last one when the element goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.support.server import TWO_FRAMES, chromium, tab
from ui.widgets.component import asset

SITE = "http://page.test"
PHOTO = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='200' height='200'></svg>"

# Intervals and observers that are at work, and the component under test.
MOUNT = """async (code) => {
  const { setInterval, clearInterval, ResizeObserver } = window;
  window.timers = new Set();
  window.observers = new Set();
  window.setInterval = (...given) => {
    const timer = setInterval(...given);
    timers.add(timer);
    return timer;
  };
  window.clearInterval = (timer) => {
    timers.delete(timer);
    clearInterval(timer);
  };
  window.ResizeObserver = class extends ResizeObserver {
    observe(...given) {
      observers.add(this);
      super.observe(...given);
    }
    disconnect() {
      observers.delete(this);
      super.disconnect();
    }
  };
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: mount } = await import(url);
  window.sent = [];
  window.arrive = (data) => {
    const setTriggerValue = (name, value) => sent.push(value);
    window.leave = mount({ data, parentElement: document.querySelector("main"), setTriggerValue });
  };
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser) -> Iterator[Page]:
    page = tab(browser, viewport={"width": 700, "height": 700}, reduced_motion="reduce")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.route(f"{SITE}/**", serve)
    yield page
    page.close()
    assert not problems


def positions(ids: list[int]) -> bytes:
    """As the server packs them: the photos lie on a diagonal, those that come first below."""
    places = np.linspace(65535, 0, len(ids)).astype("<u2").tobytes()
    clusters = np.full(len(ids), -1, "<i2").tobytes()
    return np.array(ids, "<u4").tobytes() + 2 * places + clusters


def serve(route) -> None:
    """Maps of two generations, and no thumbnails: a grey box stands for each."""
    path = route.request.url.removeprefix(SITE)
    if path == "/":
        route.fulfill(body="<!doctype html><main></main>", content_type="text/html")
    elif path.endswith(".bin"):
        route.fulfill(body=positions([10, 11, 12] if path == "/maps/1.bin" else [20, 21, 22]))
    elif path.endswith("title.txt"):
        route.fulfill(body="a photo")
    else:
        route.fulfill(status=204, body="")


def mount(page: Page, name: str) -> None:
    page.goto(f"{SITE}/")
    style = f"<style>{asset(f'{name}.css')}</style>"
    page.locator("main").evaluate(
        "(main, html) => (main.innerHTML = html)", style + asset(f"{name}.html")
    )
    page.evaluate(MOUNT, asset(f"{name}.js"))


def arrive(page: Page, data: dict) -> None:
    """Streamlit calls the component."""
    page.evaluate("data => window.arrive(data)", data)


def leave(page: Page) -> None:
    """The element goes: Streamlit calls the clean-up of the last call."""
    page.evaluate("window.leave()")


def map_data(generation: int, word: str = "map") -> dict:
    words = dict.fromkeys(("map", "clusters", "closer", "further", "whole", "missing"), word)
    url, photos = f"/maps/{generation}.bin", f"/photos/{generation}/"
    return {"url": url, "photos": photos, "count": 3, "clusters": [], "words": words}


@pytest.fixture
def photo_map(page) -> Page:
    mount(page, "map")
    arrive(page, map_data(1))
    page.locator(".map[data-ready]").wait_for()
    return page


def drawn(page: Page) -> str:
    """The picture on the canvas."""
    page.evaluate(TWO_FRAMES)
    return page.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A place of the map in fractions of the canvas."""
    box = page.locator("canvas").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def closer(page: Page) -> None:
    page.get_by_role("button").first.click()


def test_a_map_keeps_its_view(photo_map):
    whole = drawn(photo_map)
    closer(photo_map)
    before = drawn(photo_map)
    assert before != whole
    arrive(photo_map, map_data(1, "Karte"))
    assert drawn(photo_map) == before
    assert photo_map.locator("canvas").get_attribute("aria-label") == "Karte"


@pytest.mark.parametrize("again", [0, 2], ids=["not called again", "called again"])
def test_one_map_answers_clicks_and_keys(photo_map, again):
    closer(photo_map)
    for _ in range(again):
        arrive(photo_map, map_data(1))
    photo_map.mouse.click(*at(photo_map, 0.5, 0.5))
    assert photo_map.evaluate("window.sent") == [11]
    before = drawn(photo_map)
    photo_map.locator("canvas").focus()
    photo_map.keyboard.press("ArrowRight")
    assert drawn(photo_map) != before
    photo_map.keyboard.press("ArrowLeft")
    assert drawn(photo_map) == before


def dragged(page: Page, during: dict | None) -> str:
    """The picture after a drag, with data that arrives in the middle of it."""
    closer(page)
    page.mouse.move(*at(page, 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*at(page, 0.6, 0.4))
    if during is not None:
        with page.expect_response("**/*.bin") if during["url"] != "/maps/1.bin" else nullcontext():
            arrive(page, during)
    page.mouse.move(*at(page, 0.8, 0.3))
    return drawn(page)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_drag_of_the_map_ends_as_it_began(photo_map, generation):
    expected = dragged(photo_map, None)
    photo_map.mouse.up()
    photo_map.mouse.move(0, 0)
    photo_map.get_by_role("button").nth(2).click()  # all of it
    assert dragged(photo_map, map_data(generation)) == expected
    photo_map.mouse.up()
    assert photo_map.evaluate("window.sent") == []
    photo_map.get_by_role("button").nth(2).click()
    photo_map.mouse.click(*at(photo_map, 0.5, 0.5))
    assert photo_map.evaluate("window.sent") == [10 * generation + 1]


def test_a_map_that_could_not_be_loaded_is_asked_for_again(page):
    mount(page, "map")
    page.route(f"{SITE}/maps/1.bin", lambda route: route.fulfill(status=503), times=1)
    arrive(page, map_data(1))
    page.locator(".missing").wait_for()
    arrive(page, map_data(1))
    page.locator(".map[data-ready]").wait_for()
    page.locator(".missing").wait_for(state="hidden")


def test_a_map_that_has_left_answers_nothing(photo_map):
    arrive(photo_map, map_data(1))
    leave(photo_map)
    before = drawn(photo_map)
    photo_map.mouse.click(*at(photo_map, 0.5, 0.5))
    photo_map.mouse.wheel(0, -300)
    closer(photo_map)
    assert photo_map.evaluate("window.sent") == [] and drawn(photo_map) == before
    assert photo_map.evaluate("observers.size") == 0


def test_the_clean_up_of_an_earlier_call_leaves_the_map_to_the_later_one(photo_map):
    photo_map.evaluate("window.earlier = window.leave")
    arrive(photo_map, map_data(1))
    photo_map.evaluate("window.earlier()")
    photo_map.mouse.click(*at(photo_map, 0.5, 0.5))
    assert photo_map.evaluate("window.sent") == [11]


def match_data(word: str = "word", photo: str = "hit", points: int = 4) -> dict:
    labels = (
        "how lines overlay points frame frame-help tentative tentative-help query opacity blink "
        "zoom in out"
    )
    side = {"src": PHOTO, "width": 200, "height": 200}
    places = [[x, x, x, x] for x in np.linspace(0.2, 0.8, points).tolist()]
    return {
        "query": {**side, "title": "query"},
        "hit": {**side, "title": photo, "src": f"{PHOTO}#{photo}"},
        "points": places,
        "tentative": [],
        "homography": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "frame": [0, 0, 1, 1],
        "words": dict.fromkeys(labels.split(), word),
    }


@pytest.fixture
def match(page) -> Page:
    mount(page, "match")
    arrive(page, match_data())
    for image in page.locator(".stage img").all():
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    return page


def zoom(page: Page) -> tuple[str, str]:
    """The zoom in words, and what is done to the query."""
    style = page.locator(".stage img.query").evaluate("image => image.style.transform")
    return page.locator(".zoom").inner_text(), style


def test_the_evidence_keeps_zoom_and_controls(match):
    match.locator(".zooms .in").click()
    match.locator(".count").fill("2")
    before = zoom(match)
    assert before[0] == "1.5×"
    arrive(match, match_data("Wort"))
    assert zoom(match) == before and match.locator(".mode-lines").inner_text() == "Wort"
    assert match.locator("svg g.found").count() == 2
    match.locator(".mode-overlay").click()
    arrive(match, match_data())
    assert match.locator(".overlay").is_visible()
    arrive(match, match_data(photo="another"))
    assert match.locator(".stage").is_visible() and zoom(match) == ("1×", "")
    assert match.locator("svg g.found").count() == 4


@pytest.mark.parametrize("during", [None, match_data("Wort"), match_data(photo="another")])
def test_a_drag_of_the_evidence_ends_as_it_began(match, during):
    def drag(data: dict | None) -> tuple[str, str]:
        while match.locator(".zoom").inner_text() != "1×":
            match.locator(".zooms .out").click()
        box = match.locator(".view.query").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        match.mouse.click(*middle)  # comes closer
        match.mouse.move(*middle)
        match.mouse.down()
        match.mouse.move(middle[0] + 20, middle[1])
        if data is not None:
            arrive(match, data)
        match.mouse.move(middle[0] + 40, middle[1] + 10)
        return zoom(match)

    expected = drag(None)
    match.mouse.up()
    assert drag(during) == expected and expected[0] == "3×"
    match.mouse.up()
    other = during is not None and during["hit"]["title"] == "another"
    assert zoom(match) == (("1×", "") if other else expected)
    assert match.locator(".caption.hit").inner_text() == ("another" if other else "hit")


def test_the_evidence_leaves_no_timer_and_no_observer(match):
    for word in ("Wort", "mot"):
        arrive(match, match_data(word))
    assert match.evaluate("[timers.size, observers.size]") == [1, 1]
    leave(match)
    assert match.evaluate("[timers.size, observers.size]") == [0, 0]


PASTE = """() => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File(["photo"], "image", { type: "image/jpeg" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""
UPLOADER = """() => {
  document.body.insertAdjacentHTML(
    "beforeend", '<div class="st-key-uploader"><input type="file"></div>');
  window.uploads = 0;
  document.querySelector(".st-key-uploader input").onchange = () => window.uploads++;
}"""


def test_a_pasted_photo_is_uploaded_once(page):
    mount(page, "arrivals")
    page.evaluate(UPLOADER)
    for word in ("Camera", "Kamera", "Camera"):
        arrive(page, {"camera": word, "hint": "", "endings": {"image/jpeg": ".jpg"}})
    page.evaluate(PASTE)
    assert page.evaluate("window.uploads") == 1
    leave(page)
    page.evaluate(PASTE)
    assert page.evaluate("window.uploads") == 1


def test_the_label_of_the_link_stays_in_the_language_of_the_last_call(page):
    page.clock.install()
    mount(page, "link")
    words = {"done": "Copied", "until": "", "why": "", "ends": None}
    page.evaluate("() => (navigator.clipboard ??= {}).writeText = async () => {}")
    arrive(page, {**words, "label": "Copy link"})
    page.get_by_role("button").click()
    page.get_by_text("Copied").wait_for()
    arrive(page, {**words, "label": "Link kopieren"})
    page.clock.fast_forward(10_000)
    assert page.get_by_role("button").inner_text() == "Link kopieren"
