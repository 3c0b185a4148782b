"""Several photos as one query: an answer to photos of different things comes with a warning."""

from __future__ import annotations

import json

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.client.same_thing import SameThing
from api.routes import ROUTES
from search import Engine
from search.__main__ import main
from search.fusion.calibration import Calibration
from search.stages.agreement import DIFFERENT, FEW, MAX_PHOTOS, agree
from search.verify.matcher import Sift
from serving.galleries.galleries import galleries
from tests.conftest import GALLERY
from tests.ui.test_page import app, upload  # noqa: F401
from ui.i18n.translate import catalogue

SAME = ["taj-mahal.jpg", "taj-mahal-2.jpg"]
OTHER = ["taj-mahal.jpg", "wine.jpg", "bulb.jpg", "hammer-1.jpg"]
UNRELATED = [
    f"{name}.jpg"
    for name in (
        "taj-mahal wine bulb igloo dune petra burj chair pan fish-1 storm animal-panda".split()
    )
]


def photos(names: list[str]) -> list[bytes]:
    return [(GALLERY / name).read_bytes() for name in names]


@pytest.fixture
def matched(engine, monkeypatch) -> list[int]:
    """How many photos each call of the matcher compares, so far: a whole shortlist in one step."""
    monkeypatch.setattr(Sift, "first", Sift.shortlist)
    matcher, calls = engine.matchers["sift"], []
    verify_many = matcher.verify_many
    monkeypatch.setattr(
        matcher,
        "verify_many",
        lambda query, hits: calls.append(len(hits)) or verify_many(query, hits),
    )
    return calls


def test_most_views_of_a_thing_resemble_each_other():
    assert agree(np.array([-12.0, 3.0, 2.0]), few=True), "a view from the side links two others"
    assert agree(np.array([-8.0]), few=True) and not agree(np.array([-8.2]), few=True)
    assert agree(np.full(15, -8.4), few=False) and not agree(np.full(15, -8.6), few=False)


@pytest.mark.parametrize("names", [SAME, SAME[:1] * 2])
def test_photos_of_one_thing_are_not_warned_of(engine, names):
    for sources in (photos(names), [engine.store.catalogue.find(name).id for name in names]):
        assert engine.search(engine.prepare(sources), "diffusion", "sift").notes == []


@pytest.mark.parametrize("names", [OTHER, OTHER[:2]])
def test_photos_of_different_things_are_warned_of(engine, names):
    for sources in (photos(names), [engine.store.catalogue.find(name).id for name in names]):
        assert engine.search(engine.prepare(sources), "diffusion", "sift").notes == [DIFFERENT]


def test_many_photos_are_judged_by_their_descriptors(engine, matched):
    query = engine.prepare(photos(UNRELATED), matchers=())
    assert engine.search(query).notes == engine.search_cached(query).notes == [DIFFERENT]
    ids = [engine.store.catalogue.find(name).id for name in UNRELATED]
    assert engine.search(engine.prepare(ids[:1] * (FEW + 1))).notes == []
    assert engine.search(engine.prepare(list(range(3 * MAX_PHOTOS)))).notes == [DIFFERENT]
    assert engine.search(engine.prepare(ids[:1] * MAX_PHOTOS + ids)).notes == [] == matched
    query = engine.prepare(ids[: FEW + 1])
    assert engine.search(query, None, "sift").notes == [DIFFERENT]
    assert query.pairs == {} and matched == [Sift.shortlist] * (FEW + 1), "pairs are not matched"


def test_one_photo_is_never_warned_of(engine, matched):
    query = engine.prepare(photos(["wine.jpg"]))
    assert engine.search(query, None, "sift").notes == engine.search(query).notes == []
    assert matched == [Sift.shortlist] and query.pairs == {}


def test_pairs_are_compared_once_and_never_by_recall(engine, matched):
    query = engine.prepare(photos(OTHER))
    assert engine.search_cached(query, None, "sift") is None and matched == []
    assert engine.search(query, None, "sift").notes == [DIFFERENT]
    assert sorted(matched) == [1, 2, 3, *[Sift.shortlist] * 4]
    del matched[:]
    assert engine.search_cached(query, None, "sift").notes == [DIFFERENT]
    assert engine.search_cached(query).notes == [], (
        "without points, four photos are too few to judge"
    )
    assert engine.search(query, None, "sift").notes == [DIFFERENT] and matched == []
    query.pairs.clear()
    assert engine.search_cached(query, None, "sift") is None, "pairs would have to be compared"


def test_a_photo_that_cannot_be_read_is_not_warned_of(engine, monkeypatch):
    def gone(id):
        raise FileNotFoundError

    matcher = engine.matchers["sift"]
    query = engine.prepare([*photos(OTHER[:1]), engine.store.catalogue.find(OTHER[1]).id])
    monkeypatch.setattr(matcher, "query_features", gone)
    assert DIFFERENT not in engine.search(query, None, "sift").notes


def test_a_model_without_calibration_is_silent(engine):
    plain = Engine(engine.store, engine.extractor)
    plain.fusion.calibration = Calibration.of("0" * 64)
    assert plain.search(plain.prepare(photos(OTHER)), None, "sift").notes == []
    assert plain.search(plain.prepare(photos(UNRELATED), matchers=())).notes == []


def test_the_api_and_the_command_say_it(small_built, monkeypatch, capsys):
    store = small_built / "store"
    monkeypatch.setenv("GEM_STORE", str(store))
    galleries().wait_until_open()
    client = TestClient(Starlette(routes=ROUTES), client=("9.9.9.9", 1))
    server = SameThing("http://testserver", client=client, retries=0)
    assert server.search(*photos(OTHER))["notes"] == [DIFFERENT]
    assert server.search(*photos(SAME))["notes"] == []

    options = ["--store", str(store), "--sift"]
    assert main([*(str(GALLERY / name) for name in OTHER), *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{DIFFERENT} --each does so."
    assert main([*(str(GALLERY / name) for name in OTHER), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [DIFFERENT]
    assert main([*(str(GALLERY / name) for name in SAME), *options]) == 0
    assert DIFFERENT not in capsys.readouterr().out


def test_the_page_says_it_in_both_languages(app):  # noqa: F811
    upload(app, OTHER[0])
    assert DIFFERENT not in [caption.value for caption in app.caption]
    add = next(one for one in app.file_uploader if one.key.startswith("add"))
    add.set_value([(OTHER[1], *photos(OTHER[1:2]), "image/jpeg")]).run()
    assert DIFFERENT in [caption.value for caption in app.caption]
    app.query_params["lang"] = "de"
    app.run()
    assert catalogue("de")[DIFFERENT] in [caption.value for caption in app.caption]
