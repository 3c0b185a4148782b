"""The page in a real browser, at two widths: upload, toggle, compare, open a match."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import GALLERY
from tests.server import BROWSER_FLAGS, serving


@pytest.fixture(scope="module")
def address(gallery_path) -> Iterator[str]:
    """A server on the sample gallery."""
    with serving(gallery_path) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1360, 900), (390, 844)], ids=["desktop", "phone"])
def visit(browser, request, address):
    """A fresh visit; any script error or request to another host fails the test."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((address, "data:", "blob:")) else problems.append(r.url),
    )
    page.goto(address)
    expect(page.get_by_text("Find photos of the very same thing")).to_be_visible(timeout=60_000)
    settle(page)
    yield page
    page.close()
    assert not problems


def settle(page: Page) -> None:
    """Wait for the end of the script's run: until then parts of the last run stand beside parts of
    the new one.
    """
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=60_000
    )


def upload(page: Page, name: str) -> None:
    page.locator("input[type=file]").set_input_files(GALLERY / name)
    expect(page.get_by_role("button", name="Open ").first).to_be_visible(timeout=60_000)


def hits(page: Page) -> list[str]:
    """Titles of the hits in order, read at one moment of a settled page."""
    settle(page)
    return page.get_by_role("button", name="Open ").evaluate_all(
        "all => all.map(b => b.ariaLabel.replace('Open ', ''))"
    )


def no_sideways_scroll(page: Page) -> bool:
    return page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")


def test_upload_toggle_compare_open(visit):
    upload(visit, "tour-eiffel.jpg")
    expect(visit.get_by_text("points", exact=False).first).to_be_visible()
    expect(visit.get_by_role("button", name="Open Eiffel tower 2")).to_be_visible()
    reranked = hits(visit)
    assert (
        set(reranked[:3]) == {"Tour eiffel", "Eiffel tower", "Eiffel tower 2"}
        and len(reranked) < 24
    )
    expect(visit.get_by_text("sure", exact=True).first).to_be_visible()
    visit.get_by_role("button", name="Show weaker matches").click()
    expect(visit.get_by_role("heading", name="Weaker matches")).to_be_visible()
    assert len(hits(visit)) == 24 and hits(visit)[: len(reranked)] == reranked
    assert no_sideways_scroll(visit)
    first = visit.get_by_role("button", name="Open ").first.locator("img")
    assert first.evaluate("image => image.complete && image.naturalWidth > 100"), (
        "thumbnails arrive by URL"
    )

    visit.get_by_text("SIFT verification", exact=True).click()
    visit.get_by_text("Diffusion", exact=True).click()
    expect(visit).to_have_url(re.compile("diffusion=false&sift=false"))
    expect(visit.get_by_text("✓", exact=False)).to_have_count(0)
    assert hits(visit) != reranked

    visit.get_by_text("SIFT verification", exact=True).click()
    visit.get_by_text("Diffusion", exact=True).click()
    visit.get_by_text("Compare", exact=True).click()
    expect(visit.get_by_role("heading", name="Rerank off")).to_be_visible()
    expect(visit.get_by_role("heading", name="Diffusion + SIFT")).to_be_visible()
    expect(visit.get_by_text("▲").first).to_be_visible()
    left, right = (visit.locator("section.pane").nth(i).bounding_box() for i in (0, 1))
    assert left["x"] + left["width"] <= right["x"] + 1 and no_sideways_scroll(visit)
    visit.get_by_text("Compare", exact=True).click()
    expect(visit.get_by_role("heading", name="Rerank off")).to_have_count(0)

    visit.get_by_role("button", name="Open Eiffel tower", exact=True).click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.get_by_text("fit together", exact=False)).to_be_visible()
    query, hit = dialog.locator(".stage img").nth(0), dialog.locator(".stage img").nth(1)
    for image in (query, hit):
        expect(image).to_be_visible()
        visit.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    expect(dialog.locator("svg g").first).to_be_attached()
    count = dialog.locator("svg g").count()
    assert count >= 10
    visit.wait_for_timeout(300)
    boxes = [image.bounding_box() for image in (query, hit)]
    ends = dialog.locator("svg circle").evaluate_all(
        "all => all.map(c => c.getBoundingClientRect()).map(b => [b.x + 3, b.y + 3])"
    )
    for i, (x, y) in enumerate(ends):  # every line begins in the query and ends in the hit
        box = boxes[i % 2]
        assert (
            box["x"] - 1 <= x <= box["x"] + box["width"] + 1
            and box["y"] - 1 <= y <= box["y"] + box["height"] + 1
        )

    dialog.get_by_role("button", name="Overlay").click()
    expect(dialog.locator(".overlay")).to_be_visible()
    assert "matrix3d" in dialog.locator(".overlay .top").evaluate("image => image.style.transform")
    dialog.get_by_role("button", name="Search with this photo").click()
    expect(dialog).to_have_count(0)
    expect(visit.get_by_text("From the gallery")).to_be_visible()
    expect(visit).to_have_url(re.compile("photo=eiffel-tower.jpg"))


def test_sample_query_and_search_from_a_hit(visit):
    # Near its upper left corner the button must lie over the photo, or this click is refused.
    visit.get_by_role("button", name="Colosseum", exact=True).click(position={"x": 40, "y": 40})
    expect(visit.get_by_role("button", name="Open Colosseum 2")).to_be_visible(timeout=60_000)
    expect(visit).to_have_url(re.compile("photo=colosseum.jpg"))
    assert hits(visit)[0] == "Colosseum 2"
    visit.get_by_role("button", name="Search with this photo: Colosseum 2").click()
    expect(visit.get_by_role("button", name="Open Colosseum", exact=True)).to_be_visible(
        timeout=60_000
    )
    expect(visit).to_have_url(re.compile("photo=colosseum-2.jpg"))
    assert hits(visit)[0] == "Colosseum"
    visit.get_by_role("button", name="New search").click()
    expect(visit.get_by_text("Find photos of the very same thing")).to_be_visible()


def test_a_part_of_the_photo(visit):
    upload(visit, "taj-mahal.jpg")
    visit.get_by_role("button", name="Part").click()
    left = visit.get_by_role("slider", name="From left to right").first
    expect(left).to_be_visible()
    left.focus()
    for _ in range(20):
        visit.keyboard.press("ArrowRight")
    expect(visit.get_by_text("A part of it")).to_be_visible(timeout=60_000)
    expect(visit.locator(".part i")).to_have_attribute("style", re.compile("left: ?20%"))
    frame, photo = (visit.locator(f".part {part}").bounding_box() for part in ("i", "img"))
    assert frame["x"] - photo["x"] == pytest.approx(0.2 * photo["width"], abs=3)
    visit.keyboard.press("Escape")
    visit.get_by_role("button", name="Open ").first.click()
    expect(visit.get_by_role("dialog").locator("svg g").first).to_be_attached(timeout=60_000)
    query = visit.get_by_role("dialog").locator(".stage img").first.bounding_box()
    starts = (
        visit.get_by_role("dialog")
        .locator("svg circle")
        .evaluate_all(
            "all => all.filter((c, i) => i % 2 == 0).map(c => c.getBoundingClientRect()).map(b => "
            "b.x + 3)"
        )
    )
    assert min(starts) >= query["x"] + 0.2 * query["width"] - 3, (
        "points outside the part do not count"
    )
    assert no_sideways_scroll(visit)


def test_unreadable_upload(visit, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    visit.locator("input[type=file]").set_input_files(tmp_path / "broken.jpg")
    expect(visit.get_by_text("This is not a JPEG, PNG or WebP photo.")).to_be_visible(
        timeout=60_000
    )
    upload(visit, "petra.jpg")
    expect(visit.get_by_text("This is not a JPEG")).to_have_count(0)
