"""How much a photo may be, and who can change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from extractor import (
    OWNER,
    VISITOR,
    BadLimit,
    BadPhoto,
    Extractor,
    ImageTooLarge,
    decode,
    owner_limits,
)
from extractor.photo.limits import SETTINGS
from extractor.photo.strips import MAX_PARTS, parts_of
from index_store import Store, build, update
from serving.settings import BadSettings, Settings, settings
from tests.conftest import QuickExtractor
from tests.support.every_format import KINDS, encoded, large, picture
from ui.i18n.translate import tr_known
from ui.widgets.uploader import accepted_suffixes


def test_settings_and_limits_have_the_same_defaults(monkeypatch):
    for name, field, *_ in SETTINGS:
        assert Settings.model_fields[f"photo_{name.lower()}"].default == getattr(OWNER, field)
        monkeypatch.setenv(f"GEM_PHOTO_{name}", "77")
        assert getattr(owner_limits(), field) == 77
        assert getattr(settings(), f"photo_{name.lower()}") == 77
    monkeypatch.undo()
    assert owner_limits() == OWNER and settings().uploads == VISITOR


@pytest.mark.parametrize("text", ["x", "0", "-1", "1e3", "99999999"])
def test_a_wrong_limit_is_an_error_that_names_it(text, monkeypatch):
    monkeypatch.setenv("GEM_PHOTO_MB", text)
    with pytest.raises(BadLimit, match="GEM_PHOTO_MB"):
        owner_limits()


def test_a_phones_photo_of_101_megapixels_is_the_owners_but_no_visitors():
    data = large()
    assert max(decode(data).shape) == 1024
    with pytest.raises(ImageTooLarge, match=r"at most 64 megapixels are allowed\.$"):
        decode(data, limits=VISITOR)
    with pytest.raises(ImageTooLarge, match="GEM_PHOTO_MEGAPIXELS sets the limit"):
        decode(data, limits=replace(OWNER, megapixels=100))


def test_formats_of_uploads_are_a_setting(monkeypatch):
    assert (
        "heic" in accepted_suffixes()
        and "jfif" in accepted_suffixes()
        and "mpo" in accepted_suffixes()
    )
    assert "tif" not in accepted_suffixes()
    monkeypatch.setenv("GEM_FORMATS", "tiff, jpeg")
    assert settings().uploads.formats == ("jpeg", "tiff")
    assert "tif" in accepted_suffixes() and "png" not in accepted_suffixes()
    for wrong in ("jpg", "jpeg,exe", ","):
        monkeypatch.setenv("GEM_FORMATS", wrong)
        with pytest.raises(BadSettings, match="GEM_FORMATS"):
            settings()


def test_a_folder_of_every_format(tmp_path, monkeypatch, caplog):
    """What is read is in the store, all else is named; a raised limit lets `update` try again."""
    photos, extractor = tmp_path / "photos", QuickExtractor()
    photos.mkdir()
    for kind in KINDS:
        (photos / kind.name).write_bytes(kind.make())
    monkeypatch.setenv("GEM_PHOTO_MEGAPIXELS", "100")
    build(photos, tmp_path / "s", extractor)
    left_out = {kind.name for kind in KINDS if kind.error}
    with Store(tmp_path / "s") as store:
        skipped = {entry.file: entry.reason for entry in store.catalogue.skipped()}
        assert skipped.keys() == left_out | {"large.jpg"}
        for kind in KINDS:
            if kind.error:
                assert kind.error in skipped[kind.name]
        # What a browser cannot show is shown by our own rendering, as it was described.
        found = store.catalogue.find("turned.heif")
        assert store.pixels(found.id).shape[:2] == (picture().height, picture().width)
        assert store.thumbnail(found.id).startswith(b"\xff\xd8")
    assert "'end-missing.jpg': The end of the photo's file is missing" in caplog.text
    monkeypatch.delenv("GEM_PHOTO_MEGAPIXELS")
    described = extractor.described
    update(tmp_path / "s", extractor)
    with Store(tmp_path / "s") as store:
        assert store.catalogue.find("large.jpg") is not None
    assert extractor.described == described + 1


def test_a_screenshot_of_a_whole_page_is_described_by_parts(extractor: Extractor):
    page = np.random.default_rng(0).integers(0, 256, (230, 11, 3), np.uint8)
    image = Image.fromarray(page).resize((1080, 23_000), Image.Resampling.BICUBIC)
    photo = decode(encoded(image, "JPEG"), limits=VISITOR)
    assert photo.shape == (5452, 256, 3)
    parts = parts_of(photo)
    assert len(parts) <= MAX_PARTS and all(part.shape == parts[0].shape for part in parts)
    np.testing.assert_array_equal(parts[0], photo[: len(parts[0])])
    np.testing.assert_array_equal(parts[-1], photo[-len(parts[0]) :])
    mean = extractor.describe(parts).sum(0)
    expected = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(extractor.describe([photo])[0], expected, atol=1e-5)
    beside = extractor.describe([parts[0], photo, parts[1]])
    np.testing.assert_allclose(beside[1], expected, atol=1e-5)
    assert decode(encoded(image.rotate(90, expand=True), "JPEG")).shape == (256, 5452, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"no photo",
        encoded(picture(), "BMP"),
        encoded(picture().resize((4200, 20)), "PNG"),
        encoded(picture().resize((10, 20)), "PNG"),
        encoded(picture().resize((9000, 8000)), "JPEG", quality=10),
        encoded(picture().resize((5000, 5000)), "WEBP", quality=1, method=0),
        bytes(13 * 2**20),
        *(kind.make() for kind in KINDS if kind.name in ("twelve-bits.jpg", "half.jpg")),
    ],
    ids=range(9),
)
def test_what_visitors_are_told_is_told_in_german_as_well(data, monkeypatch):
    monkeypatch.setattr("ui.i18n.translate.language", lambda: "de")
    with pytest.raises(BadPhoto) as error:
        decode(data, limits=VISITOR)
    assert tr_known(str(error.value)) != str(error.value)
