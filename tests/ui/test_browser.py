"""The page in a real browser, at two widths: upload, toggle, compare, open a match."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import CDPSession, Locator, Page, expect

from tests.conftest import GALLERY
from tests.support.server import chromium, settle, tab

UPLOADER = ".st-key-uploader input[type=file]"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


# What is not about the page's layout, or done with keyboard and pointer.
ON_A_DESK = pytest.mark.parametrize("visit", [(1360, 900)], ids=["desktop"], indirect=True)


@pytest.fixture(params=[(1360, 900), (390, 844)], ids=["desktop", "phone"])
def visit(browser, request, address):
    """A fresh visit; any script error or request to another host fails the test."""
    width, height = request.param
    page = tab(browser, viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((address, "data:", "blob:")) else problems.append(r.url),
    )
    page.goto(address)
    expect(page.get_by_text("Find photos of the very same thing")).to_be_visible()
    settle(page)
    yield page
    page.close()
    assert not problems


def upload(page: Page, name: str) -> None:
    # While the page changes, the uploader it had stands beside the new one.
    settle(page)
    page.locator(UPLOADER).set_input_files(GALLERY / name)
    expect(page.get_by_role("button", name="Open ").first).to_be_visible()


def hits(page: Page) -> list[str]:
    """Titles of the hits in order, read at one moment of a settled page."""
    settle(page)
    return page.get_by_role("button", name="Open ").evaluate_all(
        "all => all.map(b => b.ariaLabel.replace('Open ', ''))"
    )


def line_ends(dialog: Locator) -> np.ndarray:
    """(lines, 2, 2): where lines begin in the query and end in the hit, x and y in 0 to 1.

    All is read in one step, since the lines are redrawn whenever the photos change size.
    """
    found = dialog.locator(".stage").evaluate(
        """stage => {
          const boxes = ["query", "hit"].map(
            side => stage.querySelector(`.view.${side}`).getBoundingClientRect()
          );
          return [...stage.querySelectorAll(".found")].map(line =>
            [...line.querySelectorAll("circle")].map((circle, side) => {
              const spot = circle.getBoundingClientRect();
              const { x, y, width, height } = boxes[side];
              const middle = [spot.x + spot.width / 2, spot.y + spot.height / 2];
              return [(middle[0] - x) / width, (middle[1] - y) / height];
            })
          );
        }"""
    )
    return np.array(found).reshape(-1, 2, 2)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the photo in "Part", in fractions of it, lies in the window now."""
    photo = page.locator(".area img").bounding_box()
    return photo["x"] + x * photo["width"], photo["y"] + y * photo["height"]


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
    assert len(hits(visit)) > len(reranked) and hits(visit)[: len(reranked)] == reranked
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
    settle(visit)
    ends = line_ends(dialog)  # every line begins in the query and ends in the hit
    assert ends.min() >= -0.01 and ends.max() <= 1.01

    dialog.get_by_role("button", name="Overlay").click()
    expect(dialog.locator(".overlay")).to_be_visible()
    assert "matrix3d" in dialog.locator(".overlay .top").evaluate("image => image.style.transform")
    dialog.get_by_role("button", name="Search with this photo").click()
    expect(dialog).to_have_count(0)
    expect(visit.get_by_text("From the gallery")).to_be_visible()
    expect(visit).to_have_url(re.compile("photo=eiffel-tower.jpg"))


@ON_A_DESK
def test_sample_query_and_search_from_a_hit(visit):
    # Near its upper left corner the button must lie over the photo, or this click is refused.
    visit.get_by_role("button", name="Colosseum", exact=True).click(position={"x": 40, "y": 40})
    expect(visit.get_by_role("button", name="Open Colosseum 2")).to_be_visible()
    expect(visit).to_have_url(re.compile("photo=colosseum.jpg"))
    assert hits(visit)[0] == "Colosseum 2"
    visit.get_by_role("button", name="Search with this photo: Colosseum 2").click()
    expect(visit.get_by_role("button", name="Open Colosseum", exact=True)).to_be_visible()
    expect(visit).to_have_url(re.compile("photo=colosseum-2.jpg"))
    assert hits(visit)[0] == "Colosseum"
    visit.get_by_role("button", name="New search").click()
    expect(visit.get_by_text("Find photos of the very same thing")).to_be_visible()


@ON_A_DESK
def test_a_part_of_the_photo(visit):
    upload(visit, "taj-mahal.jpg")
    visit.get_by_role("button", name="Part").click()
    left = visit.get_by_role("slider", name="From left to right").first
    expect(left).to_be_visible()
    left.focus()
    for _ in range(20):
        visit.keyboard.press("ArrowRight")
    expect(visit.get_by_text("A part of it")).to_be_visible()
    expect(visit.locator(".frame")).to_have_attribute("style", re.compile("left: ?20%"))
    settle(visit)
    frame, photo = (visit.locator(f".area {part}").bounding_box() for part in (".frame", "img"))
    assert frame["x"] - photo["x"] == pytest.approx(0.2 * photo["width"], abs=3)
    expect(visit).to_have_url(re.compile("part=20%2C0%2C100%2C100"))

    def at(x: float, y: float) -> tuple[float, float]:
        return place(visit, x, y)

    drag(visit, at(0.6, 0.5), at(0.5, 0.5))  # the frame is moved
    expect(visit).to_have_url(re.compile("part=10%2C0%2C90%2C100"))
    drag(visit, at(0.02, 0.5), at(0.02, 0.5))  # a tap beside it asks for the whole photo
    expect(visit).not_to_have_url(re.compile("part="))
    expect(visit.get_by_text("A part of it")).to_have_count(0)
    drag(visit, at(0.2, 0.1), at(0.9, 0.95))  # and a new one is drawn
    expect(visit).to_have_url(re.compile("part=(19|20|21)%2C(9|10|11)%2C(89|90|91)%2C9[456]"))
    expect(visit.get_by_text("A part of it")).to_be_visible()
    settle(visit)
    visit.keyboard.press("Escape")
    visit.get_by_role("button", name="Open ").first.click()
    expect(visit.get_by_role("dialog").locator("svg g").first).to_be_attached()
    expect(visit.get_by_role("dialog").locator(".stage .query img")).to_be_visible()
    starts = line_ends(visit.get_by_role("dialog"))[:, 0, 0]
    assert starts.min() >= 0.19, "points outside the part do not count"
    assert no_sideways_scroll(visit)


def swipe(
    touch: CDPSession, start: tuple[float, float], end: tuple[float, float], steps: int = 6
) -> None:
    """One finger, from one place of the window to another."""

    def send(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in places]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", start)
    for step in range(1, steps + 1):
        share = step / steps
        send("touchMove", tuple(a + share * (b - a) for a, b in zip(start, end)))
    send("touchEnd")


def test_a_part_by_finger(browser, address):
    """On a phone: a frame is drawn, moved, and pulled at a corner, and the page stays in place."""
    phone = {"width": 390, "height": 844}
    page = tab(browser, viewport=phone, has_touch=True, is_mobile=True)
    touch = page.context.new_cdp_session(page)
    page.goto(f"{address}/?photo=taj-mahal.jpg")
    expect(page.get_by_role("button", name="Open ").first).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Part").tap()
    expect(page.locator(".area img")).to_be_visible()
    settle(page)  # the popover moves to its place
    photo = page.locator(".area img").bounding_box()
    assert photo["x"] >= 0 and photo["x"] + photo["width"] <= phone["width"]
    assert photo["y"] >= 0 and photo["y"] + photo["height"] <= phone["height"]

    def at(x: float, y: float) -> tuple[float, float]:
        return place(page, x, y)

    def expect_part(*numbers: int) -> None:
        """Within a percent; a pixel is about a third of one."""
        near = "%2C".join(f"({n - 1}|{n}|{n + 1})" for n in numbers)
        expect(page).to_have_url(re.compile(f"part={near}(&|$)"))

    swipe(touch, at(0.2, 0.1), at(0.8, 0.7))  # it is drawn
    expect_part(20, 10, 80, 70)
    swipe(touch, at(0.5, 0.4), at(0.4, 0.6))  # it is moved
    expect_part(10, 30, 70, 90)
    swipe(touch, at(0.7, 0.9), at(0.6, 0.8))  # it is pulled at a corner
    expect_part(10, 30, 60, 80)
    expect(page.get_by_text("A part of it")).to_be_visible()
    assert page.evaluate("scrollY") == 0, "the page does not scroll under the finger"
    page.get_by_role("button", name="Whole photo").tap()
    expect(page).not_to_have_url(re.compile("part="))
    settle(page)
    assert page.locator(".area img").bounding_box() == photo and no_sideways_scroll(page)
    page.close()


@ON_A_DESK
def test_unreadable_upload(visit, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    visit.locator(UPLOADER).set_input_files(tmp_path / "broken.jpg")
    expect(
        visit.get_by_text(
            "This is not a photo in a supported format (JPEG, PNG, WebP, HEIC, AVIF)."
        )
    ).to_be_visible()
    upload(visit, "petra.jpg")
    expect(visit.get_by_text("This is not a JPEG")).to_have_count(0)


PASTE = """async (url) => {
  const blob = await (await fetch(url)).blob();
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([blob], "image", { type: "image/jpeg" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""


@ON_A_DESK
def test_paste_say_compare_and_share(visit):
    """What is done with a query after it was asked, all of it in the address."""
    image = visit.get_by_role("img", name="Brandenburg gate").get_attribute("src")
    expect(visit.get_by_text("or paste one")).to_be_visible()  # what listens came with these words
    visit.evaluate(PASTE, image)
    expect(visit.get_by_role("button", name="Open ").first).to_be_visible()
    expect(visit).to_have_url(re.compile("upload="))
    first = hits(visit)
    visit.get_by_role("button", name=f"More like this: {first[0]}", exact=True).click()
    expect(visit.get_by_text("Moved towards the photos you marked as right: 1")).to_be_visible()
    assert first[0] not in hits(visit)
    wrong = hits(visit)[-1]
    visit.get_by_role("button", name=f"Not this: {wrong}", exact=True).click()
    expect(visit.get_by_text("away from those you marked as wrong: 1")).to_be_visible()
    assert wrong not in hits(visit) and no_sideways_scroll(visit)
    expect(visit).to_have_url(re.compile("more=.*less="))
    moved = hits(visit)
    visit.reload()  # the picture is gone with the session; the descriptor is remembered
    expect(visit.get_by_text("Its picture was not kept")).to_be_visible()
    expect(visit.get_by_role("button", name="Open ").first).to_be_visible()
    assert hits(visit) == moved
    visit.get_by_role("button", name=f"Remove: Not: {wrong}").click()
    expect(visit.get_by_text("away from")).to_have_count(0)

    visit.get_by_text("Compare", exact=True).click()
    expect(visit.get_by_text("of the top 10 are in both")).to_be_visible()
    visit.get_by_role("button", name="Options").click()
    visit.get_by_role("combobox", name="Reranker").last.click()
    visit.get_by_role("option", name="k-reciprocal").click()
    expect(visit.get_by_role("heading", name="k-reciprocal")).to_be_visible()
    expect(visit).to_have_url(re.compile("left-reranker=k-reciprocal"))
    expect(visit.get_by_role("heading", name=" ms")).to_have_count(2)
    assert no_sideways_scroll(visit)


@ON_A_DESK
def test_back_and_the_evidence_from_near(visit):
    visit.get_by_role("button", name="Colosseum", exact=True).click(position={"x": 40, "y": 40})
    expect(visit.get_by_role("button", name="Open Colosseum 2")).to_be_visible()
    visit.get_by_role("button", name="Search with this photo: Colosseum 2").click()
    expect(visit).to_have_url(re.compile("photo=colosseum-2.jpg"))
    expect(visit.get_by_role("button", name="Open Colosseum", exact=True)).to_be_visible()
    settle(visit)
    visit.go_back()
    expect(visit.get_by_role("button", name="Open Colosseum 2")).to_be_visible()
    settle(visit)

    visit.get_by_role("button", name="Open Colosseum 2").click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.locator("svg g.frame")).to_have_count(2)
    found = dialog.locator("svg g.found").count()
    dialog.get_by_text("Tentative (").click()
    assert dialog.locator("svg g.tried").count() > found, "geometry has thrown some out"
    for _ in range(3):
        dialog.get_by_role("button", name="Zoom in").click()
    expect(dialog.locator(".zoom")).to_have_text("3.4×")
    assert dialog.locator("svg g.found").count() < found, "points out of sight are not drawn"
    ends = line_ends(dialog)
    assert ends.min() >= -0.01 and ends.max() <= 1.01
    dialog.get_by_role("button", name="Overlay").click()
    dialog.get_by_text("Blink").click()
    expect(dialog.get_by_label("Opacity")).to_have_value("0")


def test_the_evidence_shows_chain_and_contradiction(visit, engine, gallery):
    """Each pair of photos has a button, with which the viewer shows it."""
    query = engine.prepare(gallery.catalogue.find("eiffel-tower.jpg").id)
    hits = engine.search(query, "diffusion", "sift", 24).hits
    hit = next(hit for hit in hits if len(hit.chain) == 2 and hit.contradicted_by)
    through, other = hit.chain[0], hit.contradicted_by
    visit.goto(f"{visit.url}?photo=eiffel-tower.jpg")
    expect(visit.get_by_role("button", name="Open ").first).to_be_visible()
    settle(visit)
    visit.get_by_role("button", name="Show weaker matches").click()
    visit.get_by_role("button", name=f"Open {hit.title}", exact=True).click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.get_by_text("This photo was found through others.")).to_be_visible()
    expect(dialog.get_by_text(f"Matches “{other.title}”, which this search")).to_be_visible()
    pairs = dialog.get_by_role("radio")
    expect(pairs).to_have_text(
        [
            f"your photo → {through.title} · {through.inliers} points",
            re.compile(f"^{through.title} → {hit.title}"),
            re.compile(f"^your photo → {hit.title}"),
            f"{hit.title} → {other.title} · {other.inliers} points",
        ]
    )
    captions = dialog.locator(".stage .caption")
    expect(captions).to_have_text(["Eiffel tower", through.title])
    expect(dialog.get_by_text(f"{through.inliers} points of the two photos")).to_be_visible()
    pairs.last.click()
    expect(captions).to_have_text([hit.title, other.title])
    expect(dialog.get_by_text("of the two photos fit together")).to_be_visible()
    settle(visit)
    assert line_ends(dialog).shape[0] > 0 and no_sideways_scroll(visit)
    pairs.nth(2).click()
    expect(captions).to_have_text(["Eiffel tower", hit.title])
