"""Photos of other formats on the page, in a real browser: as uploads, and as a gallery's photos."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect

from index_store import build
from tests.conftest import FEW_PHOTOS, GALLERY
from tests.support.every_format import KINDS
from tests.support.server import serving, settle, tab
from tests.ui.test_browser import UPLOADER, browser

__all__ = ["browser"]  # a fixture
OF_GALLERY = ("exact.jp2", "phone.heic", "sixteen-bits.tif")
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def address(tmp_path_factory, extractor):
    """A server on a gallery in which three photos are of formats that browsers do not show."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "photos").mkdir()
    for name in FEW_PHOTOS:
        shutil.copy(GALLERY / name, folder / "photos" / name)
    for name in OF_GALLERY:
        (folder / "photos" / name).write_bytes(BY_NAME[name].make())
    build(folder / "photos", folder / "store", extractor)
    with serving(folder / "store") as url:
        yield url


def test_uploads_of_all_names_are_taken_and_shown(browser, address):
    visit = tab(browser, viewport={"width": 1360, "height": 900})
    visit.goto(address)
    files = {
        "IMG_0001.HEIC": "tiles.heic",
        "turned.heif": "turned.heif",
        "plain.avif": "plain.avif",
        "phone.mpo": "phone.mpo",
        "print.jfif": "print.jfif",
        "end-missing.jpg": "end-missing.jpg",
    }
    for name, kind in files.items():
        settle(visit)
        sent = {"name": name, "mimeType": "", "buffer": BY_NAME[kind].make()}
        expect(visit.locator(UPLOADER)).to_have_count(1)  # that of the last upload is gone
        visit.locator(UPLOADER).set_input_files(sent)
        expect(visit.get_by_text(name, exact=False).first).to_be_visible()
        settle(visit)
        first = visit.get_by_role("button", name="Open ").first
        expect(first).to_be_visible()
        said = visit.get_by_text("The end of the photo's file is missing")
        expect(said).to_have_count(1 if name == "end-missing.jpg" else 0)
    first.click()
    pictures = visit.get_by_role("dialog").locator(".stage img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") >= 320
    visit.close()


def test_a_file_of_another_format_is_refused_by_its_name(browser, address):
    visit = tab(browser, viewport={"width": 1360, "height": 900})
    visit.goto(address)
    settle(visit)
    sent = {"name": "x.heic", "mimeType": "", "buffer": BY_NAME["plain.bmp"].make()}
    visit.locator(UPLOADER).set_input_files(sent)
    sentence = "Photos of the format BMP are not read here; JPEG, PNG, WebP, HEIC, AVIF are."
    expect(visit.get_by_text(sentence)).to_be_visible()
    visit.close()


@pytest.mark.parametrize("name", OF_GALLERY)
def test_what_a_browser_cannot_show_is_shown_by_our_own_rendering(browser, address, name):
    visit = tab(browser, viewport={"width": 1360, "height": 900})
    visit.goto(f"{address}/?photo={name}")
    settle(visit)
    visit.get_by_role("button", name="Open ").first.click()
    pictures = visit.get_by_role("dialog").locator(".stage img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert "view.jpg" in picture.get_attribute("src")
        assert picture.evaluate("image => image.naturalWidth") >= 480
    visit.close()
