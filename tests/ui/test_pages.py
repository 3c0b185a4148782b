"""All pages in a real browser, each at two widths."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from index_store.analysis.things import things
from tests.conftest import GALLERY
from tests.support.server import TWO_FRAMES, settle, tab
from tests.ui.test_browser import browser, no_sideways_scroll

__all__ = ["browser"]  # a fixture
SIZES = {"desktop": (1360, 900), "phone": (390, 844)}


@pytest.fixture
def visit(browser, address) -> Iterator[Page]:
    """A fresh visit; any error in the console and any request to another host fails the test."""
    page = tab(browser, viewport={"width": 1360, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda m: problems.append(f"{m.text} {m.location}") if m.type == "error" else None,
    )
    page.on(
        "request",
        lambda r: None if r.url.startswith((address, "data:", "blob:")) else problems.append(r.url),
    )
    page.goto(address)
    settle(page)
    yield page
    page.close()
    assert not problems


def search(page: Page) -> str:
    """Search with a photo of the gallery; its title."""
    page.get_by_role("button", name="Colosseum", exact=True).click(position={"x": 40, "y": 40})
    expect(page.get_by_text("From the gallery")).to_be_visible()
    settle(page)
    return page.locator(".query b").inner_text()


def go(page: Page, name: str, heading: str) -> None:
    """To another page by the bar at the top."""
    page.set_viewport_size({"width": 1360, "height": 900})
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    settle(page)


def at_both_widths(page: Page) -> Iterator[str]:
    """Nothing is wider than the window; a phone's is the last."""
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        assert no_sideways_scroll(page), name
        yield name


def test_explore(visit):
    go(visit, "Explore", "Explore")
    expect(visit.locator(".map[data-ready]")).to_be_visible()
    for _ in at_both_widths(visit):
        assert (
            visit.locator("canvas").evaluate(
                """canvas => {
              const {width, height} = canvas;
              const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
              let inked = 0;
              for (let i = 3; i < pixels.length; i += 4) inked += pixels[i] > 0;
              return inked / (width * height);
            }"""
            )
            > 0.02
        ), "photos are drawn"
    visit.set_viewport_size({"width": 1360, "height": 900})
    clusters = visit.locator(".clusters button")
    assert clusters.count() >= 5
    expect(visit.get_by_role("heading", name="Duplicates")).to_be_visible()
    expect(visit.get_by_role("button", name="Open Colosseum", exact=True)).to_be_visible()
    canvas = visit.get_by_role("application")
    canvas.focus()
    for key in ("+", "+", "ArrowLeft", "ArrowRight"):
        visit.keyboard.press(key)
    visit.evaluate(TWO_FRAMES)  # then the last key is answered, or its title is being fetched
    expect(visit.locator(".spoken")).not_to_be_empty()
    title = visit.locator(".spoken").inner_text()
    visit.keyboard.press("Enter")
    expect(visit.get_by_text("From the gallery")).to_be_visible()
    expect(visit.get_by_text(title, exact=True).first).to_be_visible()
    expect(visit).to_have_url(re.compile(r"/\?photo="))


def test_things_are_albums_beside_the_map(visit, address, gallery):
    """From the map to an album, from it to a search, from a hit back to the album."""
    found = things(gallery)
    sizes = [f"{len(thing.ids)} photos" for thing in found]
    faces = [photo.file for photo in gallery.catalogue.photos_of(t.ids[0] for t in found)]
    go(visit, "Explore", "Explore")
    heading = f"{len(found)} things with more than one photo"
    expect(visit.get_by_role("heading", name=heading)).to_be_visible()
    expect(visit.locator(".albums .count")).to_have_text(sizes)
    for _ in at_both_widths(visit):
        expect(visit.locator(".albums button")).to_have_count(len(found))
    visit.locator(".albums button").first.click()
    album = visit.get_by_role("dialog")
    expect(album.locator("figure")).to_have_count(len(found[0].ids))
    expect(visit).to_have_url(re.compile(rf"thing={re.escape(faces[0])}$"))
    visit.keyboard.press("Escape")
    expect(album).to_have_count(0)
    expect(visit).to_have_url(f"{address}/explore")
    visit.locator(".albums button").nth(1).click()
    expect(album.locator("figure")).to_have_count(len(found[1].ids))
    album.locator(".open").first.click(position={"x": 20, "y": 20})
    expect(visit.get_by_text("From the gallery")).to_be_visible()
    expect(visit).to_have_url(re.compile(rf"/\?photo={re.escape(faces[1])}$"))
    settle(visit)
    visit.locator(".open").first.click(position={"x": 20, "y": 20})
    more = f"{len(found[1].ids) - 1} more photo"
    visit.get_by_role("button", name=re.compile(f"{more}s? of this thing")).click()
    expect(visit).to_have_url(re.compile("/explore.thing="))
    expect(album.locator("figure")).to_have_count(len(found[1].ids))


def test_how_it_works_tells_of_the_photo_searched_with(visit):
    title = search(visit)
    go(visit, "How it works", "How it works")
    expect(visit.get_by_text(f"“{title}”")).to_be_visible()
    for step in ("It looks", "It finds", "It walks", "It proves", "It cross-checks"):
        expect(visit.get_by_role("heading", name=step)).to_be_visible()
    expect(visit.locator(".heat .over")).to_be_visible()
    assert visit.locator(".lists img").count() >= 10
    for _ in at_both_widths(visit):
        photo, over = (
            visit.locator(f".heat {part}").bounding_box() for part in ("img >> nth=0", ".over")
        )
        assert photo == pytest.approx(over, abs=1), "the heat lies on the photo"


def test_back_on_the_search_page_the_photo_is_still_there(visit):
    title = search(visit)
    go(visit, "How it works", "How it works")
    visit.get_by_role("link", name="Search", exact=True).click()
    expect(visit.locator(".query b")).to_have_text(title)
    expect(visit.get_by_text("From the gallery")).to_be_visible()
    expect(visit).to_have_url(re.compile(r"/\?photo="))


def test_figures(visit):
    go(visit, "Figures", "What was measured")
    expect(visit.get_by_test_id("stVegaLiteChart").first.locator("svg.marks")).to_be_visible()
    for _ in at_both_widths(visit):
        pass
    visit.set_viewport_size({"width": 1360, "height": 900})
    visit.get_by_text("Values and how they were measured").first.click()
    expect(visit.get_by_role("table").first).to_be_visible()


def test_own_photos(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name in ("colosseum.jpg", "colosseum-2.jpg", "igloo.jpg"):
            archive.write(GALLERY / name, name)
    go(visit, "Own photos", "Your own photos")
    for _ in at_both_widths(visit):
        pass
    visit.locator("input[type=file]").set_input_files([tmp_path / "mine.zip", GALLERY / "wine.jpg"])
    expect(visit.get_by_text("4 photos can be searched")).to_be_visible()
    settle(visit)
    visit.get_by_role("button", name="Search with this photo: Colosseum", exact=True).click()
    expect(visit.get_by_role("button", name="Open Colosseum 2")).to_be_visible()
    expect(visit.get_by_text("search 4 photos by photo")).to_be_visible()
    expect(visit.get_by_text("Your photos")).to_be_visible()
    go(visit, "Own photos", "Your own photos")
    visit.get_by_role("button", name="Delete them").click()
    expect(visit.get_by_text("Choose photos, or a zip of photos").first).to_be_visible()
    visit.get_by_role("link", name="Search", exact=True).click()
    expect(visit.get_by_text("search 310 photos by photo")).to_be_visible()


def open_evidence(page: Page) -> None:
    page.get_by_role("button", name="Colosseum 2 öffnen").click()
    expect(page.get_by_role("dialog").locator("svg g").first).to_be_attached()


def open_ways(page: Page) -> None:
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_role("combobox", name="Reranker").last).to_be_visible()


def open_part(page: Page) -> None:
    page.get_by_role("button", name="Part").click()
    expect(page.locator(".area img")).to_be_visible()


def make_own(page: Page) -> None:
    page.locator("input[type=file]").set_input_files([GALLERY / "wine.jpg", GALLERY / "dune.jpg"])
    expect(page.get_by_text("2 photos can be searched")).to_be_visible()


def leave(page: Page) -> None:
    """Take the pointer off whatever it was on: a tooltip that is being faded in has no contrast."""
    page.mouse.move(0, 0)
    expect(page.get_by_role("tooltip")).to_have_count(0)


STATES = (  # address, and what is opened there
    ("?lang=de", None),
    ("?photo=colosseum.jpg&lang=de", open_evidence),
    ("?photo=colosseum.jpg&compare=true", open_ways),
    ("?photo=colosseum.jpg", open_part),
    ("explore", None),
    ("how?lang=de", None),
    ("own", make_own),
    ("figures?lang=de", None),
)


def test_accessibility(visit, address):
    """Axe finds nothing serious on any page, light on a desk or dark on a phone, in English and
    in German, and with what can be opened there open.
    """
    found: list[str] = []
    looks = list(zip(SIZES.values(), ("light", "dark")))
    for number, (page, opened) in enumerate(STATES):
        visit.emulate_media(color_scheme="light", reduced_motion="reduce")
        visit.set_viewport_size(dict(zip(("width", "height"), SIZES["desktop"])))
        visit.goto(f"{address}/{page}")
        expect(visit.locator(".st-key-footer")).to_be_visible()
        settle(visit)
        if opened is not None:
            opened(visit)
            leave(visit)
            settle(visit)
        (width, height), scheme = looks[number % 2]  # in turns: each takes seconds
        visit.set_viewport_size({"width": width, "height": height})
        visit.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(visit.get_by_test_id("stApp")).to_have_css("color-scheme", scheme)
        settle(visit)
        for problem in Axe().run(visit).response["violations"]:
            if problem["impact"] in ("serious", "critical"):
                nodes = [node["html"][:120] for node in problem["nodes"]]
                found.append(f"{page} {scheme} {problem['id']} {nodes}")
    assert not found
    expect(visit.locator("html")).to_have_attribute("lang", "de")
