"""The whole way through, on the sample gallery."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from extractor import UnsupportedImage, encode_jpeg, read_photo, resize
from index_store import Store, build
from search import FLOOR, Engine
from search.__main__ import main
from search.verify.matcher import Sift
from tests.conftest import GALLERY

TOGGLES = [{"diffusion": d, "sift": s} for d in (False, True) for s in (False, True)]
NEAR_IDENTICAL = [
    ("brandenburg-gate.jpg", "brandenburg-gate-2.jpg"),
    ("colosseum.jpg", "colosseum-2.jpg"),
    ("neuschwanstein.jpg", "neuschwanstein-castle.jpg"),
    ("mount-rushmore.jpg", "mount-rushmore-2.jpg"),
    ("great-pyramid.jpg", "great-pyramid-of-giza.jpg"),
]


def files(result, count=None) -> list[str]:
    return [hit.file for hit in result.hits[:count]]


@pytest.mark.parametrize("toggles", TOGGLES)
@pytest.mark.parametrize("pair", NEAR_IDENTICAL)
def test_near_identical_photos_find_each_other_first(engine, pair, toggles):
    for query, other in (pair, pair[::-1]):
        assert files(engine.search(engine.store.catalogue.find(query).id, **toggles), 1) == [other]


@pytest.mark.parametrize("toggles", TOGGLES)
def test_the_taj_mahal_finds_its_other_photos(engine, toggles):
    """As a visitor has it: an upload. The copy in the gallery comes first, both others next."""
    hits = files(engine.search((GALLERY / "taj-mahal.jpg").read_bytes(), **toggles), 3)
    assert hits[0] == "taj-mahal.jpg" and set(hits[1:]) == {"taj-mahal-2.jpg", "taj-mahal-3.jpg"}


def test_an_upload_saved_anew_is_still_recognised(engine):
    smaller = encode_jpeg(resize(read_photo(GALLERY / "colosseum.jpg"), 400), quality=60)
    hits = engine.search(smaller, diffusion=True, sift=True).hits
    assert (
        {hits[0].file, hits[1].file} == {"colosseum.jpg", "colosseum-2.jpg"}
        and hits[0].verified
        and hits[1].verified
    )


def test_index_alone_proposes_most_of_the_nearest(gallery):
    """Before any rescoring, from a third of the gallery: what product quantisation itself is worth at 310 photos."""
    assert 0.9 <= gallery.manifest.shortlist_recall < 1


def test_candidates_equal_flat_search(engine):
    """The IVF-PQ shortlist, rescored, is what comparing with every photo gives."""
    descriptors = engine.store.descriptors.astype(np.float32)
    for query in range(0, len(engine.store), 17):
        exact = descriptors @ descriptors[query]
        exact[query] = -2
        hits = engine.search(query, k=20).hits
        np.testing.assert_allclose(
            [hit.similarity for hit in hits], np.sort(exact)[::-1][:20], atol=1e-5
        )
        assert [hit.score for hit in hits] == [hit.similarity for hit in hits]


@pytest.mark.parametrize("toggles", TOGGLES)
def test_scores_fall_and_no_photo_comes_twice_or_is_its_own_hit(engine, toggles):
    for query in (3, 99, 250):
        hits = engine.search(query, k=len(engine.store), **toggles).hits
        assert len(hits) == len(engine.store) - 1 == len(
            {hit.id for hit in hits}
        ) and query not in {h.id for h in hits}
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)


def test_photos_of_which_nothing_is_known_keep_their_order_below_the_verified(engine):
    query = engine.store.catalogue.find("eiffel-tower.jpg").id
    before = engine.search(query, k=400).hits
    after = engine.search(query, k=400, sift=True).hits
    verified = [hit for hit in after if hit.verified]
    assert verified and all(hit.inliers >= FLOOR for hit in verified)
    assert after[: len(verified)] == verified
    unknown = [hit.file for hit in after if not hit.inliers]
    assert len(unknown) > 200 and unknown == [f for f in files_of(before) if f in set(unknown)]
    assert [hit.probability for hit in after] == sorted(
        (hit.probability for hit in after), reverse=True
    )


def files_of(hits) -> list[str]:
    return [hit.file for hit in hits]


def test_stage_ranks_are_the_positions_after_each_stage(engine):
    query = engine.store.catalogue.find("tour-eiffel.jpg").id
    result = engine.search(query, diffusion=True, sift=True, k=30)
    plain = files(engine.search(query, k=400))
    diffused = files(engine.search(query, diffusion=True, k=400))
    for rank, hit in enumerate(result.hits, 1):
        assert hit.stage_ranks == {
            "descriptor": plain.index(hit.file) + 1,
            "diffusion": diffused.index(hit.file) + 1,
            "sift": rank,
        }


def test_a_toggle_costs_only_its_own_stage(gallery, extractor, monkeypatch):
    engine = Engine(gallery, extractor)
    data = (GALLERY / "petra.jpg").read_bytes()
    first = engine.search(data)
    assert set(first.timings_ms) == {"decode", "describe", "index"} and first.reused_ms == {}
    monkeypatch.setattr(type(extractor), "describe", None)  # calling it again would raise
    second = engine.search(data, diffusion=True)
    assert set(second.timings_ms) == {"diffusion"} and second.reused_ms == first.timings_ms
    third = engine.search(data, sift=True)
    assert set(third.timings_ms) == {"sift"}
    again = engine.search(data, sift=True)
    assert again.timings_ms == {} and again.reused_ms["sift"] == third.timings_ms["sift"]
    assert files(again) == files(third)


def test_an_upload_itself_is_not_kept(gallery, extractor):
    engine = Engine(gallery, extractor)
    data = (GALLERY / "petra.jpg").read_bytes()
    shape = read_photo(GALLERY / "petra.jpg").shape
    for sift in (False, True):
        engine.search(data, sift=sift)
        (known,) = engine._queries.values()
        kept = [value for value in vars(known).values() if value is not None]
        assert not any(
            isinstance(value, bytes) or getattr(value, "shape", None) == shape for value in kept
        )


def test_only_the_last_queries_are_remembered(gallery, extractor):
    engine = Engine(gallery, extractor, remember=2)
    for query in (1, 2, 3):
        engine.search(query)
    assert list(engine._queries) == [(2, None), (3, None)]


def test_what_was_looked_at_before_does_not_change_an_answer(gallery, extractor, monkeypatch):
    """A photo below the shortlist, verified by the match viewer, must not jump up in the next search."""
    query = gallery.catalogue.find("colosseum.jpg").id
    monkeypatch.setattr(Sift, "shortlist", 0)
    fresh = files(Engine(gallery, extractor).search(query, diffusion=True, sift=True))
    engine = Engine(gallery, extractor)
    assert engine.explain(query, gallery.catalogue.find("colosseum-2.jpg").id).verified
    again = engine.search(query, diffusion=True, sift=True)
    assert files(again) == fresh and not any(hit.verified for hit in again.hits)


def test_explain_looks_at_photos_beyond_the_shortlist(engine, monkeypatch):
    query = engine.store.catalogue.find("colosseum.jpg").id
    other = engine.store.catalogue.find("colosseum-2.jpg").id
    monkeypatch.setattr(Sift, "shortlist", 0)
    hit = engine.explain(query, other)
    assert hit.verified and hit.verification.inliers == hit.inliers == len(
        hit.verification.query_points
    )
    with pytest.raises(KeyError):
        engine.explain(query, 100_000)


def test_originals_that_are_gone_are_said_and_nothing_breaks(
    photos, tmp_path, extractor, monkeypatch
):
    monkeypatch.setattr("index_store.builder.LOCAL_FEATURES_BUDGET", 0)
    build(photos, tmp_path / "s", extractor)
    for name in ("wine.jpg", "bulb.jpg"):
        (photos / name).unlink()
    engine = Engine(Store(tmp_path / "s", extractor), extractor)
    result = engine.search((GALLERY / "taj-mahal.jpg").read_bytes(), sift=True)
    assert len(result.hits) == 12 and result.notes == [
        "2 photos could not be verified: their files have changed or are gone."
    ]
    assert {hit.file for hit in result.hits if hit.inliers is None} == {"wine.jpg", "bulb.jpg"}
    gone = engine.search(engine.store.catalogue.find("wine.jpg").id, sift=True)
    assert len(gone.hits) == 11 and "the file of the query" in gone.notes[0]


def test_bad_queries(engine):
    with pytest.raises(UnsupportedImage):
        engine.search(b"no photo")
    with pytest.raises(KeyError):
        engine.search(10_000)


def test_command_prints_one_json_object(gallery_path, tmp_path, capsys):
    query = shutil.copy(GALLERY / "colosseum.jpg", tmp_path / "query.jpg")
    options = ["--store", str(gallery_path), "--diffusion", "--sift", "-k", "5", "--json"]
    assert main([str(query), *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"] == str(query) and len(answer["hits"]) == 5
    best = answer["hits"][1]
    assert (
        best["file"] == "colosseum-2.jpg" and best["inliers"] >= FLOOR and best["verified"] is True
    )
    assert set(best["stage_ranks"]) == {"descriptor", "diffusion", "sift"}
    assert set(answer["timings_ms"]) == {"decode", "describe", "index", "diffusion", "sift"}


def test_command_prints_a_table_and_clear_errors(gallery_path, tmp_path, capsys):
    assert main([str(GALLERY / "wine.jpg"), "--store", str(gallery_path), "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "the", "same?", "similarity", "points", "photo"]
    assert lines[1].split()[:2] == ["1", "sure"] and lines[1].endswith("wine.jpg")
    assert len(lines) == 6 and "describe" in lines[5]
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    for query, store, sentence in [
        (tmp_path / "bad.jpg", gallery_path, "not a JPEG"),
        (tmp_path / "none.jpg", gallery_path, "No such file"),
        (GALLERY / "wine.jpg", tmp_path / "none", "There is no store"),
    ]:
        assert main([str(query), "--store", str(store)]) == 1
        assert sentence in capsys.readouterr().err
