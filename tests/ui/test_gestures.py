"""The part of a photo, drawn by pointer in a real browser while data arrives late."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page

from tests.support.server import chromium, tab
from ui.widgets.component import asset

PHOTO = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='200' height='200'></svg>"
MOUNT = """async (code) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: mount } = await import(url);
  window.sent = [];
  window.arrive = (data) => mount({
    data,
    parentElement: document.body,
    setTriggerValue: (name, value) => window.sent.push(value),
  });
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    page = tab(browser, viewport={"width": 600, "height": 600})
    page.set_content(f"<style>{asset('part.css')}</style>{asset('part.html')}")
    page.evaluate(MOUNT, asset("part.js"))
    arrive(page, [20, 20, 60, 60], 0)
    image = page.locator("img")
    page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    yield page
    page.close()


def arrive(page: Page, frame: list[int], gesture: int) -> None:
    """Data from the server."""
    data = {"src": PHOTO, "alt": "", "whole": "", "frame": frame, "gesture": gesture}
    page.evaluate(f"window.arrive({json.dumps(data)})")


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A place of the photo, in percent, as it lies now."""
    box = page.locator(".area").bounding_box()
    return box["x"] + x / 100 * box["width"], box["y"] + y / 100 * box["height"]


def press(page: Page, x: float, y: float) -> None:
    page.mouse.move(*at(page, x, y))
    page.mouse.down()


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    press(page, *start)
    page.mouse.move(*at(page, *end))
    page.mouse.up()


def frame(page: Page) -> list[float]:
    """The frame that is drawn, in percent."""
    left, top, width, height = page.locator(".frame").evaluate(
        "({ style }) => [style.left, style.top, style.width, style.height].map(parseFloat)"
    )
    return [left, top, left + width, top + height]


def sent(page: Page) -> list[list[int]]:
    return [gesture["frame"] for gesture in page.evaluate("window.sent")]


def test_an_answer_to_an_earlier_gesture_does_not_undo_a_later_one(page):
    drag(page, (40, 40), (50, 40))
    drag(page, (50, 40), (50, 60))
    arrive(page, [30, 20, 70, 60], 1)
    assert frame(page) == [30, 40, 70, 80]
    drag(page, (70, 80), (80, 90))  # the corner of the second frame is where it is drawn
    assert sent(page) == [[30, 20, 70, 60], [30, 40, 70, 80], [30, 40, 80, 90]]
    arrive(page, [30, 40, 70, 80], 2)
    assert frame(page) == [30, 40, 80, 90]
    arrive(page, [30, 40, 80, 90], 3)
    arrive(page, [0, 40, 80, 90], 3)  # a slider
    assert frame(page) == [0, 40, 80, 90]


def test_data_that_arrives_during_a_gesture_does_not_change_it(page):
    press(page, 40, 40)
    page.mouse.move(*at(page, 45, 40))
    arrive(page, [0, 0, 100, 100], 0)
    page.mouse.move(*at(page, 50, 40))
    page.mouse.up()
    assert sent(page) == [[30, 20, 70, 60]] and frame(page) == [30, 20, 70, 60]


def test_a_page_that_moves_under_the_pointer_does_not_move_the_frame(page):
    press(page, 40, 40)
    end = at(page, 50, 40)
    page.evaluate("document.body.style.paddingTop = '50px'")
    page.mouse.move(*end)
    page.mouse.up()
    assert sent(page) == [[30, 20, 70, 60]]


@pytest.mark.parametrize("end", ["pointercancel", "pointerup"])
def test_data_that_arrived_during_a_gesture_is_drawn_when_it_ends_without_effect(page, end):
    press(page, 40, 40)
    arrive(page, [10, 10, 90, 90], 0)
    assert frame(page) == [20, 20, 60, 60]
    if end == "pointerup":
        page.mouse.up()
    else:
        page.locator(".area").dispatch_event(end)
    assert not sent(page) and frame(page) == [10, 10, 90, 90]
