"""Things that fill a small part of gallery photos, asked for with a photo that shows them large."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from extractor import Extractor
from extractor.descriptor.registry import model_path
from index_store import Store, build
from search import Engine
from tests.conftest import GALLERY

THINGS = (
    "painting-gogh-auvert-1",
    "vincent-van-gogh-bridge",
    "statue-of-liberty",
    "numbers",
    "brandenburg-gate",
)
AREAS = (3, 5, 10, 20)  # per cent of the photo
EACH = 2  # photos of each thing and area
OTHERS = 120
SIZE = 640, 480


def pasted(thing: Path, scene: Path, area: float, rng: np.random.Generator) -> Image.Image:
    """A scene with a thing somewhere in it, seen at a slant. area: as a share of the scene."""
    own, around = (np.asarray(Image.open(path).convert("RGB")) for path in (thing, scene))
    around = cv2.resize(around, SIZE, interpolation=cv2.INTER_AREA)
    height, width = own.shape[:2]
    zoom = np.sqrt(area * SIZE[0] * SIZE[1] / (height * width))
    size = np.array([width, height]) * zoom
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    place = rng.uniform(5, np.maximum(6, SIZE - size - 5))
    seen = place + (corners + rng.uniform(-0.08, 0.08, (4, 2))) * size
    whole = np.float32(corners * [width, height])
    warp = cv2.getPerspectiveTransform(whole, np.float32(seen))
    softened = cv2.GaussianBlur(own, (0, 0), max(0.4 / zoom, 0.1))
    inside = cv2.warpPerspective(np.full(own.shape[:2], 255, np.uint8), warp, SIZE) > 127
    made = around.copy()
    made[inside] = cv2.warpPerspective(softened, warp, SIZE)[inside]
    return Image.fromarray(made)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    base = tmp_path_factory.mktemp("small-things")
    photos = base / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    families = tuple({thing.split("-")[0] for thing in THINGS})
    scenes = sorted(p for p in GALLERY.glob("*.jpg") if not p.stem.startswith(families))
    scenes = [scenes[number] for number in rng.permutation(len(scenes))]
    for area in AREAS:
        for thing in THINGS:
            for number in range(EACH):
                made = pasted(GALLERY / f"{thing}.jpg", scenes.pop(), area / 100, rng)
                made.save(photos / f"{thing}-{area}-{number}.jpg", quality=88)
    for scene in scenes[:OTHERS]:
        (photos / scene.name).symlink_to(scene)
    extractor = Extractor(model_path("efficientnet-lite2"))
    build(photos, base / "store", extractor)
    return Engine(Store(base / "store", extractor), extractor)


def recall(engine: Engine, verify: str | None) -> dict[int, float]:
    """Share of the photos with a thing that are among the first ten, by their area."""
    found: dict[int, list[bool]] = {area: [] for area in AREAS}
    for thing in THINGS:
        query = engine.prepare((GALLERY / f"{thing}.jpg").read_bytes())
        hits = {hit.file for hit in engine.search(query, verify=verify, k=10).hits}
        for area in AREAS:
            found[area] += [f"{thing}-{area}-{number}.jpg" in hits for number in range(EACH)]
    return {area: float(np.mean(hit)) for area, hit in found.items()}


def test_details_find_what_the_descriptor_misses(engine):
    before, after = recall(engine, None), recall(engine, "sift")
    assert all(after[area] >= before[area] for area in AREAS)
    assert before[5] <= 0.4 and after[5] >= 0.7
    assert after[10] >= 0.9 and after[20] == 1


def test_a_part_asks_with_the_keypoints_inside(engine):
    """A photo of two things, of which one is marked."""
    left, right = (
        np.asarray(Image.open(GALLERY / f"{thing}.jpg").convert("RGB").resize((400, 400)))
        for thing in ("numbers", "vincent-van-gogh-bridge")
    )
    both = np.hstack([left, right])
    for part, thing, other in (
        ((0.5, 0, 1, 1), "vincent-van-gogh-bridge", "numbers"),
        ((0, 0, 0.5, 1), "numbers", "vincent-van-gogh-bridge"),
    ):
        query = engine.prepare(both, region=part)
        hits = [hit.file for hit in engine.search(query, verify="sift", k=6).hits]
        assert sum(file.startswith(thing) for file in hits) >= 4
        assert not any(file.startswith(other) for file in hits)


def test_a_hit_that_only_details_have_found_says_so(engine):
    """And so it stays when the query is asked again."""
    said = {}
    for thing in THINGS:
        query = engine.prepare((GALLERY / f"{thing}.jpg").read_bytes())
        found = engine.search(query, verify="sift", k=12)
        assert "details" in found.timings_ms
        for hit in found.hits:
            if hit.by_details and hit.verified:
                said[hit.file] = thing
                assert hit.stage_ranks["details"] <= 100 < hit.stage_ranks["descriptor"]
        again = engine.search_cached(query, verify="sift", k=12)
        assert again is not None and again.hits == found.hits
        assert "details" in again.reused_ms and "details" not in again.timings_ms
        plain = engine.search(query, k=12)
        assert not any(hit.by_details or "details" in hit.stage_ranks for hit in plain.hits)
    assert said and all(file.startswith(thing) for file, thing in said.items())
