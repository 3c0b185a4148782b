"""Copies of a photo are one picture; other documents and shots are not, however alike."""

from __future__ import annotations

import io
import json
import os
import shutil
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from extractor import decode, encode_jpeg, resize
from index_store import Store, StoreCorrupt, build, duplicates
from index_store.__main__ import main
from index_store.analysis.duplicates import decoded, equal_pairs, grouped
from index_store.analysis.one_picture import one_picture, picture, same_layout, same_shape
from index_store.extraction import THUMBNAIL_QUALITY, THUMBNAIL_SIDE
from search import collapse_duplicates
from search.result import Hit
from tests.conftest import GALLERY, QuickExtractor
from tests.support.documents import KINDS

PHOTOS = "colosseum wine dune machu-picchu animal-dragon hammer-1 numbers sunset".split()


def saved(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scaled(image, factor, resample=Image.Resampling.LANCZOS):
    return image.resize((int(image.width * factor), int(image.height * factor)), resample)


def fitted(image, side):
    return scaled(image, min(1.0, side / max(image.size)))


RECIPES = {
    "quality 95": lambda image: saved(image, quality=95),
    "quality 75": lambda image: saved(image, quality=75, progressive=True),
    "quality 50": lambda image: saved(image, quality=50),
    "quality 30": lambda image: saved(image, quality=30),
    "all colours": lambda image: saved(image, quality=85, subsampling=0),
    "png": lambda image: saved(image, "PNG"),
    "webp 80": lambda image: saved(image, "WEBP", quality=80),
    "webp 50": lambda image: saved(image, "WEBP", quality=50),
    "lossless webp": lambda image: saved(image, "WEBP", lossless=True),
    "three quarters": lambda image: saved(scaled(image, 0.75), quality=85),
    "half, bilinear": lambda image: saved(
        scaled(image, 0.5, Image.Resampling.BILINEAR), quality=75
    ),
    "half, webp": lambda image: saved(
        scaled(image, 0.5, Image.Resampling.BICUBIC), "WEBP", quality=70
    ),
    "320 pixels": lambda image: saved(fitted(image, 320), quality=80),
    "180 pixels": lambda image: saved(fitted(image, 180), quality=80),
    "larger": lambda image: saved(scaled(image, 1.5, Image.Resampling.BICUBIC), quality=85),
    "brighter": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.05), quality=80),
}


def thumbnail(data):
    """What is compared of a photo file's thumbnail, which is made as a build makes it."""
    return decoded(encode_jpeg(resize(decode(data), THUMBNAIL_SIDE), THUMBNAIL_QUALITY))


def sample(name):
    return Image.open(GALLERY / f"{name}.jpg").convert("RGB")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_copy_is_the_same_picture(recipe):
    originals = [sample(name) for name in PHOTOS] + [draw(0) for draw in KINDS.values()]
    for image in originals:
        first, second = thumbnail(saved(image, quality=92)), thumbnail(RECIPES[recipe](image))
        assert one_picture(first, second) and one_picture(second, first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1024, 320, 160])
def test_no_document_is_another_one(kind, side):
    drawn = [KINDS[kind](number) for number in range(20)]
    pictures = [thumbnail(saved(fitted(image, side), quality=90)) for image in drawn]
    assert all(one_picture(a, a) for a in pictures)
    assert not [pair for pair in combinations(range(20), 2) if one_picture(*at(pictures, pair))]


def at(items, places):
    return [items[place] for place in places]


def shot(image, x, y, degrees, seed):
    """A shot of a burst: the camera moved by x and y pixels and turned, other noise."""
    pixels = np.asarray(image).astype(np.float32)
    turned = cv2.getRotationMatrix2D((image.width / 2, image.height / 2), degrees, 1.0)
    turned[:, 2] += x, y
    moved = cv2.warpAffine(pixels, turned, image.size, flags=cv2.INTER_CUBIC)
    moved += np.random.default_rng(seed).normal(0, 3, moved.shape)
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8)[12:-12, 12:-12])


@pytest.mark.parametrize("name", [name for name in PHOTOS if name not in ("dune", "sunset")])
def test_two_shots_of_a_burst_are_two_pictures(name):
    image = sample(name)
    first = thumbnail(saved(shot(image, 0, 0, 0, 1), quality=92))
    for seed, move in enumerate([(0.7, 0.4, 0), (2, -1, 0.1), (4, 3, 0.3)], 2):
        assert not one_picture(first, thumbnail(saved(shot(image, *move, seed), quality=92)))


def test_a_crop_a_turn_and_another_colour_are_other_pictures():
    image = sample("wine")
    whole = picture(np.asarray(image))
    red, green, blue = image.split()
    for other in (
        image.crop((6, 6, image.width - 6, image.height - 6)),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        image.resize((image.width, image.height - 20)),
        Image.merge("RGB", (blue, green, red)),
    ):
        assert not one_picture(whole, picture(np.asarray(other)))


def test_equal_pixels_are_one_picture_even_if_there_is_nothing_to_see():
    for side in (16, 100, 900):
        blank = np.full((side, side, 3), 250, np.uint8)
        assert one_picture(picture(blank), picture(blank.copy()))
    small = np.asarray(fitted(sample("wine"), 100))
    assert one_picture(picture(small), picture(small))
    saved_again = decode(saved(Image.fromarray(small), quality=90))
    assert not one_picture(picture(small), picture(saved_again)), "too small to compare"


def test_sizes_may_be_rounded():
    assert same_shape((480, 320), (320, 214)) and same_shape((213, 320), (320, 480))
    assert not same_shape((480, 320), (320, 217)) and not same_shape((320, 480), (480, 320))


def test_layouts_are_compared_side_by_side():
    pictures = [picture(np.asarray(sample(name))) for name in PHOTOS]
    rows = np.stack([p.layout for p in pictures])
    assert same_layout(rows[:, None], rows[None]).tolist() == np.eye(len(rows), dtype=bool).tolist()


def matrix_groups(same, near=None, order=None):
    near = same if near is None else near
    return list(
        grouped(
            range(len(same)) if order is None else order,
            lambda id: np.flatnonzero(near[id]).tolist(),
            lambda a, b: bool(same[a, b]),
        )
    )


def related(count, *pairs):
    same = np.eye(count, dtype=bool)
    for a, b in pairs:
        same[a, b] = same[b, a] = True
    return same


def test_groups_are_built_around_their_first():
    same = related(5, (0, 2), (2, 4), (1, 3))  # 4 is like 2, but not like 0
    assert matrix_groups(same) == [[0, 2], [1, 3], [4]]
    assert matrix_groups(same, order=[4, 3, 2, 1, 0]) == [[4, 2], [3, 1], [0]]
    chain = related(4, (0, 1), (1, 2), (2, 3))
    assert matrix_groups(np.ones((4, 4), bool), near=chain) == [[0, 1, 2, 3]]


def test_few_pairs_are_compared_where_all_are_near_one_another(rng):
    compared = []

    def same(a, b):
        compared.append((a, b))
        return a // 10 == b // 10

    groups = list(grouped(range(60), lambda _: range(60), same))
    assert groups == [list(range(start, start + 10)) for start in range(0, 60, 10)]
    assert len(compared) == len(set(compared)) == 59 + 49 + 39 + 29 + 19 + 9


def test_equal_values_are_chained():
    assert equal_pairs(np.array([3, 1, 3, 2, 3, 1])).tolist() == [[1, 5], [0, 2], [2, 4]]
    assert equal_pairs(np.array([], np.int64)).shape == (0, 2)


@pytest.fixture
def photos(photos):
    """Without the two that are copies of others."""
    for name in ("brandenburg-gate-2.jpg", "colosseum-2.jpg"):
        (photos / name).unlink()
    return photos


def named(store, groups):
    files = [photo.file for photo in store.catalogue.photos()]
    return [[files[id] for id in group] for group in groups]


def add_copies(photos):
    """Copies of wine.jpg and dune.jpg, and a mirrored photo."""
    wine = Image.open(photos / "wine.jpg").convert("RGB")
    scaled(wine, 0.5).save(photos / "wine-small.jpg", quality=70)
    brighter = np.asarray(wine).astype(int) + 12
    Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(
        photos / "wine-bright.jpg", quality=50
    )
    shutil.copy(photos / "dune.jpg", photos / "dune-copy.jpg")
    mirrored = cv2.flip(cv2.imread(str(photos / "taj-mahal.jpg")), 1)
    cv2.imwrite(str(photos / "mirrored.jpg"), mirrored)


def test_copies_are_found_and_nothing_else(photos, tmp_path):
    add_copies(photos)
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        groups = named(store, duplicates(store))
        assert groups == named(store, duplicates(store, originals=True))
    assert [sorted(group) for group in groups] == [
        ["wine-bright.jpg", "wine-small.jpg", "wine.jpg"],
        ["dune-copy.jpg", "dune.jpg"],
    ]
    assert groups[0][-1] == "wine-small.jpg", "the largest first"


def test_a_gallery_without_copies_has_none(photos, tmp_path):
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        assert duplicates(store) == []


def hits_of(store):
    return [Hit(p.id, p.file, p.title, 0.9, 0.9, None, {}) for p in store.catalogue.photos()]


def test_documents_stay_apart_in_a_store_and_among_hits(tmp_path):
    (tmp_path / "photos").mkdir()
    for kind, draw in KINDS.items():
        for number in range(4):
            draw(number).save(tmp_path / "photos" / f"{kind}-{number}.jpg", quality=90)
        fitted(draw(0), 400).save(tmp_path / "photos" / f"{kind}-0-small.webp", quality=80)
    build(tmp_path / "photos", tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        expected = {(f"{kind}-0-small.webp", f"{kind}-0.jpg") for kind in KINDS}
        assert {tuple(sorted(g)) for g in named(store, duplicates(store))} == expected
        groups = collapse_duplicates(store, hits_of(store))
        folded = [[hit.file for hit in group] for group in groups]
        assert {tuple(sorted(g)) for g in folded if len(g) > 1} == expected
        assert len(folded) == 4 * len(KINDS)


def test_files_are_compared_where_thumbnails_cannot_tell(tmp_path):
    """Two pages that differ by one small digit."""
    (tmp_path / "photos").mkdir()
    for digit in "38":
        sheet = KINDS["page"](0)
        ImageDraw.Draw(sheet).text((430, 1250), digit, 25, ImageFont.load_default(14))
        sheet.save(tmp_path / "photos" / f"page-{digit}.png")
    build(tmp_path / "photos", tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        assert duplicates(store) == [[0, 1]], "the digit is 5 pixels tall"
        assert duplicates(store, originals=True) == []
        (tmp_path / "photos" / "page-8.png").unlink()
        assert duplicates(store, originals=True) == [[0, 1]], "all that is left to compare"


def test_any_number_of_equal_files_is_one_group(photos, tmp_path):
    for number in range(70):  # more than a neighbour list holds
        shutil.copy(photos / "dune.jpg", photos / f"dune-{number:02d}.jpg")
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        assert [len(group) for group in duplicates(store)] == [71]


def test_damaged_thumbnails_are_skipped(photos, tmp_path, monkeypatch):
    add_copies(photos)
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        broken = store.catalogue.find("wine-bright.jpg").id
        read = Store.thumbnail

        def thumbnail(store, id):
            if id == broken:
                raise StoreCorrupt("damaged")
            return read(store, id)

        monkeypatch.setattr(Store, "thumbnail", thumbnail)
        decoded.cache_clear()
        found = [sorted(group) for group in named(store, duplicates(store))]
        assert found == [["dune-copy.jpg", "dune.jpg"], ["wine-small.jpg", "wine.jpg"]]
        hits = hits_of(store)
        assert ["wine-bright.jpg"] in [
            [h.file for h in group] for group in collapse_duplicates(store, hits)
        ]
        monkeypatch.undo()
        store.exclude_photos(np.array([store.catalogue.find("dune.jpg").id]))
        assert [len(group) for group in duplicates(store)] == [3], "what is hidden is in no group"


def run(capsys, *arguments):
    assert main(["duplicates", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_command_lists_sizes_and_paths(photos, tmp_path, capsys):
    add_copies(photos)
    large = scaled(Image.open(photos / "igloo.jpg").convert("RGB"), 4.0, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter
    large.transpose(Image.Transpose.ROTATE_90).save(photos / "large.jpg", exif=exif)
    build(photos, tmp_path / "s", QuickExtractor())
    told = json.loads(run(capsys, "--store", tmp_path / "s", "--json"))
    assert told["changed"] == []
    for group in told["groups"]:
        assert group["largest"] == group["photos"][0]["file"]
        extents = [photo["width"] * photo["height"] for photo in group["photos"]]
        assert extents == sorted(extents, reverse=True)
        for photo in group["photos"]:
            path = photos / photo["file"]
            assert photo["path"] == str(path) and photo["bytes"] == path.stat().st_size
    assert [group["largest"] for group in told["groups"]][1:] == ["dune-copy.jpg", "large.jpg"]
    assert told["groups"][0]["largest"] in ("wine.jpg", "wine-bright.jpg")
    found = told["groups"][2]["photos"][0]
    assert (found["width"], found["height"]) == large.size, "of the file, upright"

    printed = run(capsys, "--store", tmp_path / "s")
    assert "groups: 3, files besides the largest of each: 4" in printed
    assert "one picture, saved again or resized; not cropped" in printed
    assert f"{large.width} x {large.height}" in printed
    assert f"{(photos / 'large.jpg').stat().st_size:,} bytes  {photos / 'large.jpg'}" in printed


def test_the_command_leaves_out_files_that_have_changed(photos, tmp_path, capsys):
    add_copies(photos)
    build(photos, tmp_path / "s", QuickExtractor())
    shutil.copy(photos / "bulb.jpg", photos / "dune-copy.jpg")
    os.utime(photos / "wine.jpg", (1, 1))  # the same content
    (photos / "wine-small.jpg").unlink()
    told = json.loads(run(capsys, "--store", tmp_path / "s", "--json"))
    assert told["changed"] == ["dune-copy.jpg"] and len(told["groups"]) == 1
    listed = {photo["file"]: photo["bytes"] for photo in told["groups"][0]["photos"]}
    assert listed["wine.jpg"] == (photos / "wine.jpg").stat().st_size
    assert listed["wine-small.jpg"] is None and len(listed) == 3
    printed = run(capsys, "--store", tmp_path / "s")
    assert "changed since it was indexed: dune-copy.jpg" in printed
    assert "file not readable" in printed
