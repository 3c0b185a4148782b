"""Photos that are the query pixel for pixel are named, and come first as certain."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from index_store import Store, build
from search import Engine
from search.ranking import Ranking
from search.stages.identical import with_identical
from tests.conftest import FEW_PHOTOS, GALLERY

PHOTO = "colosseum.jpg"
STAGES = [{}, {"verify": "sift"}, {"rerank": "diffusion", "verify": "sift"}]


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module", params=["exact", "encoded"])
def engine(request, tmp_path_factory, extractor) -> Engine:
    """A gallery with one photo twice, with keypoints as they are and encoded."""
    base = tmp_path_factory.mktemp("identical")
    (base / "photos").mkdir()
    for name in FEW_PHOTOS:
        shutil.copy(GALLERY / name, base / "photos")
    shutil.copy(GALLERY / PHOTO, base / "photos" / "again.jpg")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "encoded":
            patch.setattr("index_store.storage.extraction_cache.EXACT_PHOTOS", 0)
        build(base / "photos", base / "store", extractor)
        store = Store(base / "store", extractor)
    return Engine(store, extractor)


def identical(engine: Engine, photo: bytes | int, **stages) -> set[str]:
    hits = engine.search(engine.prepare(photo), k=5, **stages).hits
    first = [hit for hit in hits if hit.identical]
    assert list(hits[: len(first)]) == first
    assert all(hit.probability == 1 and hit.confidence == "sure" for hit in first)
    assert (np.diff([hit.score for hit in hits]) <= 0).all()
    return {hit.file for hit in first}


@pytest.mark.parametrize("stages", STAGES)
def test_equal_bytes_and_equal_pixels_are_the_photo(engine, stages):
    data = (GALLERY / PHOTO).read_bytes()
    assert identical(engine, data, **stages) == {PHOTO, "again.jpg"}
    png = saved(Image.open(io.BytesIO(data)).convert("RGB"), "PNG")
    assert identical(engine, png, **stages) == {PHOTO, "again.jpg"}
    id = engine.store.catalogue.find(PHOTO).id
    assert identical(engine, id, **stages) == {"again.jpg"}


@pytest.mark.parametrize("stages", STAGES)
def test_what_was_changed_is_not(engine, stages):
    image = Image.open(GALLERY / PHOTO).convert("RGB")
    width, height = image.size
    dotted = image.copy()
    dotted.paste((255, 0, 0), (width // 3, height // 2, width // 3 + 6, height // 2 + 6))
    changed = [
        saved(image, "JPEG", quality=80),
        saved(image.crop((4, 4, width, height)), "PNG"),
        saved(dotted, "PNG"),
        saved(image.convert("L").convert("RGB"), "PNG"),
    ]
    for data in changed:
        assert identical(engine, data, **stages) == set()
    whole = (0.0, 0.0, 1.0, 0.98)
    query = engine.prepare((GALLERY / PHOTO).read_bytes(), whole)
    assert not any(hit.identical for hit in engine.search(query, k=5, **stages).hits)


def test_the_order_by_hand():
    ranking = Ranking(
        ids=np.array([4, 7, 9]),
        similarity=np.array([0.8, 0.7, 0.99]),
        scores=np.array([3.0, 2.0, 1.0]),
        probability=np.array([0.9, 0.6, 0.4]),
    )
    found = with_identical(ranking, np.array([9]))
    assert found.ids.tolist() == [9, 4, 7] and found.probability.tolist() == [1, 0.9, 0.6]
    assert found.scores.tolist() == [3, 3, 2]
    assert with_identical(ranking, np.array([1])) is ranking
