"""What pages look like, coarsely: where their parts are, and a picture of a tenth of their size.

So what is compared does not depend on how a machine draws letters and edges. Times are taken out,
and photos in grids of hits are grey: which ones come in which place is for other tests.

    python -m tests.support.looks    regenerates tests/support/looks; look at them before you commit
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.support.server import rest, settle, tab

REFERENCES = Path(__file__).parent / "looks"
BOXES = REFERENCES / "boxes.json"
SHRUNK = 10  # pixels of the page on one of the picture
BOX_TOLERANCE = 14  # pixels of the page
COLOUR_TOLERANCE = 40  # of 255
MOST_APART = 0.02  # share of the picture
CHANGING = ".times, .time, .turn"
GREY = ".open img, .copy img"


@dataclass(frozen=True)
class Look:
    """One page in one state.

    Attributes:
        address: of the page.
        size: of the window.
        scheme: "light" or "dark".
        parts: name -> CSS of what has a place.
        opened: brings it into the state.
    """

    address: str
    size: tuple[int, int]
    scheme: str
    parts: dict[str, str]
    opened: Callable[[Page], None] | None = None


@dataclass(frozen=True)
class Seen:
    """What is compared.

    Attributes:
        picture: uint8 RGB (h, w, 3).
        boxes: part -> left, top, width, height in pixels of the page.
    """

    picture: np.ndarray
    boxes: dict[str, list[int]]


def open_evidence(page: Page) -> None:
    page.get_by_role("button", name="Open Colosseum 2").click()
    expect(page.get_by_role("dialog").locator("svg g").first).to_be_attached()


DESK, PHONE = (1360, 900), (390, 844)
RESULTS = {"query": ".query", "switches": ".st-key-toggles", "first": "figure"}
LOOKS = {
    "start": Look(
        "",
        DESK,
        "light",
        {
            "brand": ".brand",
            "hero": ".hero",
            "drop": ".st-key-upload-first",
            "samples": ".st-key-samples",
        },
    ),
    "results": Look("?photo=colosseum.jpg", PHONE, "dark", RESULTS),
    "compare": Look("?photo=tour-eiffel.jpg&compare=true", DESK, "dark", RESULTS),
    "evidence": Look(
        "?photo=colosseum.jpg",
        PHONE,
        "light",
        {"dialog": "[role=dialog]", "query": ".view.query", "hit": ".view.hit", "bar": ".bar"},
        open_evidence,
    ),
}


def show(browser: Browser, url: str, look: Look) -> Page:
    """A tab in that state, with what changes from run to run out of sight."""
    width, height = look.size
    page = tab(
        browser,
        viewport={"width": width, "height": height},
        color_scheme=look.scheme,
        reduced_motion="reduce",
    )
    page.goto(f"{url}/{look.address}")
    expect(page.locator(".st-key-footer")).to_be_visible()
    settle(page)
    if look.opened is not None:
        look.opened(page)
        settle(page)
    for part in look.parts.values():
        expect(page.locator(part).first).to_be_visible()
    page.evaluate("() => document.fonts.ready.then(() => true)")
    style(page, CHANGING, "display", "none")
    style(page, GREY, "filter", "contrast(0)")
    return page


def style(page: Page, css: str, name: str, value: str) -> None:
    """Change a style of all that match, in shadow trees as well."""
    change = "(all, [name, value]) => all.forEach((node) => node.style.setProperty(name, value))"
    page.locator(css).evaluate_all(change, [name, value])


def see(page: Page, look: Look) -> Seen:
    """Where the parts are, and the picture, once all photos in sight are there."""
    rest(page)  # dialogs and popovers fade in, whatever motion is wanted
    for image in page.locator("img:visible").all():
        if image.evaluate("image => image.getBoundingClientRect().top < innerHeight"):
            image.evaluate("image => image.decode()")
    boxes = {
        name: [round(value) for value in page.locator(css).first.bounding_box().values()]
        for name, css in look.parts.items()
    }
    drawn = np.asarray(Image.open(io.BytesIO(page.screenshot(animations="disabled"))))[:, :, :3]
    size = drawn.shape[1] // SHRUNK, drawn.shape[0] // SHRUNK
    return Seen(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), boxes)


def differences(seen: Seen, reference: Seen) -> list[str]:
    """What is not as it was, in words; empty if nothing is."""
    found = []
    for name, box in reference.boxes.items():
        off = np.abs(np.subtract(seen.boxes[name], box)).max()
        if off > BOX_TOLERANCE:
            found.append(f"{name} is at {seen.boxes[name]}, was at {box}")
    soft = [cv2.GaussianBlur(one.picture, (3, 3), 0).astype(int) for one in (seen, reference)]
    apart = np.abs(soft[0] - soft[1]).max(2) > COLOUR_TOLERANCE
    if apart.mean() > MOST_APART:
        found.append(f"{apart.mean():.1%} of the picture has changed")
    return found


def reference(name: str) -> Seen:
    """The reference of one of LOOKS."""
    picture = np.asarray(Image.open(REFERENCES / f"{name}.png"))
    return Seen(picture, json.loads(BOXES.read_text())[name])


def main() -> None:
    from extractor import Extractor
    from index_store import build
    from tests.conftest import GALLERY
    from tests.support.server import chromium, serving

    boxes = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        build(GALLERY, Path(folder) / "store", Extractor())
        with serving(Path(folder) / "store") as url:
            for name, look in LOOKS.items():
                page = show(browser, url, look)
                seen = see(page, look)
                page.close()
                Image.fromarray(seen.picture).save(REFERENCES / f"{name}.png", optimize=True)
                boxes[name] = seen.boxes
    BOXES.write_text(json.dumps(boxes, indent=1) + "\n")


if __name__ == "__main__":
    main()
