"""The whole way through, on the sample gallery."""

from __future__ import annotations

import gc
import io
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extractor import (
    Decoded,
    Limits,
    LocalFeatures,
    UnsupportedImage,
    decode,
    encode_jpeg,
    read,
    read_photo,
    resize,
)
from index_store import Catalogue, Store, build
from search import Engine
from search.__main__ import main
from search.rerank.diffusion import nearest_seeds
from search.verify.matcher import Sift
from tests.conftest import GALLERY, ROOT

TOGGLES = [
    {"rerank": rerank, "verify": verify}
    for rerank in (None, "diffusion")
    for verify in (None, "sift")
]
NEAR_IDENTICAL = [
    ("brandenburg-gate.jpg", "brandenburg-gate-2.jpg"),
    ("colosseum.jpg", "colosseum-2.jpg"),
    ("neuschwanstein.jpg", "neuschwanstein-castle.jpg"),
    ("mount-rushmore.jpg", "mount-rushmore-2.jpg"),
    ("great-pyramid.jpg", "great-pyramid-of-giza.jpg"),
]


def ask(engine: Engine, photo, **options):
    """Prepare and search once. photo: as `prepare` takes it, or the name of a gallery file."""
    source = engine.store.catalogue.find(photo).id if isinstance(photo, str) else photo
    return engine.search(engine.prepare(source), **options)


def files(result, count=None) -> list[str]:
    return [hit.file for hit in result.hits[:count]]


@pytest.mark.parametrize("toggles", TOGGLES)
@pytest.mark.parametrize("pair", NEAR_IDENTICAL)
def test_near_identical_photos_find_each_other_first(engine, pair, toggles):
    for query, other in (pair, pair[::-1]):
        assert files(ask(engine, query, **toggles), 1) == [other]


@pytest.mark.parametrize("toggles", TOGGLES)
def test_the_taj_mahal_finds_its_other_photos(engine, toggles):
    """As a visitor has it: an upload. The copy in the gallery comes first, both others next."""
    hits = files(ask(engine, (GALLERY / "taj-mahal.jpg").read_bytes(), **toggles), 3)
    assert hits[0] == "taj-mahal.jpg" and set(hits[1:]) == {"taj-mahal-2.jpg", "taj-mahal-3.jpg"}


def test_an_upload_saved_anew_is_still_recognised(engine):
    smaller = encode_jpeg(resize(read_photo(GALLERY / "colosseum.jpg"), 400), quality=60)
    hits = ask(engine, smaller, rerank="diffusion", verify="sift").hits
    assert (
        {hits[0].file, hits[1].file} == {"colosseum.jpg", "colosseum-2.jpg"}
        and hits[0].verified
        and hits[1].verified
    )


def test_index_alone_proposes_most_of_the_nearest(gallery):
    """Before any rescoring, from a third of the gallery: what product quantisation itself is worth
    at 310 photos.
    """
    assert 0.9 <= gallery.manifest.shortlist_recall < 1


def test_candidates_equal_flat_search(engine):
    """The candidates of IVF-PQ, rescored, is what comparing with every photo gives."""
    descriptors = np.asarray(engine.store.descriptors, np.float32)
    for query in range(0, len(engine.store), 17):
        # Stored as float16 a row is unit to three digits; the query is made unit again.
        exact = descriptors @ (descriptors[query] / np.linalg.norm(descriptors[query]))
        exact[query] = -2
        hits = ask(engine, query, k=20).hits
        np.testing.assert_allclose(
            [hit.similarity for hit in hits], np.sort(exact)[::-1][:20], atol=1e-5
        )
        assert [hit.score for hit in hits] == [hit.similarity for hit in hits]


@pytest.mark.parametrize("toggles", TOGGLES)
def test_scores_fall_and_no_photo_comes_twice_or_is_its_own_hit(engine, toggles):
    for query in (3, 99, 250):
        hits = ask(engine, query, k=len(engine.store), **toggles).hits
        assert len(hits) == len(engine.store) - 1 == len(
            {hit.id for hit in hits}
        ) and query not in {h.id for h in hits}
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)


def test_photos_without_points_are_below_the_verified(engine):
    after = ask(engine, "eiffel-tower.jpg", k=400, verify="sift").hits
    verified = tuple(hit for hit in after if hit.verified)
    assert verified and all(hit.inliers >= Sift.floor for hit in verified)
    assert after[: len(verified)] == verified
    assert Sift.first <= sum(hit.inliers is not None for hit in after) < Sift.shortlist
    assert [hit.probability for hit in after] == sorted(
        (hit.probability for hit in after), reverse=True
    )


def files_of_stage(hits, stage: str) -> list[str]:
    """The hits' files in the order after a stage."""
    ranked = [hit for hit in hits if stage in hit.stage_ranks]
    return [hit.file for hit in sorted(ranked, key=lambda hit: hit.stage_ranks[stage])]


def test_stage_ranks_are_the_positions_after_each_stage(engine):
    query = engine.prepare(engine.store.catalogue.find("tour-eiffel.jpg").id)
    result = engine.search(query, rerank="diffusion", verify="sift", k=30)
    plain = files(engine.search(query, k=400))
    alone = engine.search(query, rerank="diffusion", k=400).hits
    diffused = files_of_stage(alone, "diffusion")
    verified: list[int] = []
    for rank, hit in enumerate(result.hits, 1):
        voted = hit.stage_ranks.pop("details", None)
        assert voted is None or 1 <= voted <= 100
        verified.append(hit.stage_ranks.pop("sift"))
        assert hit.stage_ranks == {
            "descriptor": plain.index(hit.file) + 1,
            "diffusion": diffused.index(hit.file) + 1,
            "graph": rank,
        }
    assert len(set(verified)) == 30


def test_a_toggle_costs_only_its_own_stage(gallery, extractor, monkeypatch):
    engine = Engine(gallery, extractor)
    query = engine.prepare((GALLERY / "petra.jpg").read_bytes())
    monkeypatch.setattr(type(extractor), "describe", None)  # calling it again would raise
    first = engine.search(query)
    assert list(first.timings_ms) == ["decode", "describe", "keypoints", "index"]
    assert first.reused_ms == {}
    second = engine.search(query, rerank="diffusion")
    prepared = {s: ms for s, ms in first.timings_ms.items() if s != "keypoints"}
    assert set(second.timings_ms) == {"diffusion", "graph"} and second.reused_ms == prepared
    third = engine.search(query, verify="sift")
    assert set(third.timings_ms) == {"details", "sift", "graph"}
    assert third.reused_ms == first.timings_ms
    again = engine.search(query, verify="sift")
    assert (
        set(again.timings_ms) == {"graph"} and again.reused_ms["sift"] == third.timings_ms["sift"]
    )
    assert files(again) == files(third)


def test_a_photo_is_decoded_once(engine, monkeypatch):
    decoded = []

    def counted(data: bytes, as_stored: bool, limits: Limits) -> Decoded:
        decoded.append(1)
        return read(data, as_stored, limits=limits)

    monkeypatch.setattr("search.prepare.read", counted)
    query = engine.prepare((GALLERY / "colosseum.jpg").read_bytes())
    engine.search(query, rerank="diffusion", verify="sift")
    engine.search(query)
    assert engine.explain(query, engine.store.catalogue.find("colosseum-2.jpg").id).verified
    assert decoded == [1]


def test_decoded_pixels_are_as_good_as_bytes(engine):
    data = (GALLERY / "colosseum.jpg").read_bytes()
    region = (0.1, 0.2, 0.9, 0.8)
    sent, decoded = engine.prepare(data, region), engine.prepare(decode(data), region)
    np.testing.assert_array_equal(sent.descriptor, decoded.descriptor)
    assert "decode" in sent.cost_ms and "decode" not in decoded.cost_ms
    for toggles in TOGGLES:
        assert engine.search(sent, **toggles).hits[5].score == (
            engine.search(decoded, **toggles).hits[5].score
        )


def held(value) -> Iterator:
    """Everything an object holds, directly or within what it holds."""
    yield value
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        parts = list(vars(value).values()) if hasattr(value, "__dict__") else []
    for part in parts:
        yield from held(part)


def test_a_prepared_query_holds_no_pixels_and_no_bytes(engine):
    data = (GALLERY / "petra.jpg").read_bytes()
    height, width, _ = decode(data).shape
    query = engine.prepare(data)
    for toggles in TOGGLES:
        engine.search(query, **toggles)
    seen = list(held(query))
    assert any(isinstance(value, LocalFeatures) for value in seen), "it looks deep enough"
    assert not any(isinstance(value, bytes | bytearray | memoryview) for value in seen)
    arrays = [value for value in seen if isinstance(value, np.ndarray)]
    pixels = [a for a in arrays if a.ndim == 3 or (a.dtype == np.uint8 and a.shape[1:] != (128,))]
    assert len(arrays) > 5 and not pixels
    assert max(array.size for array in arrays) < height * width


def test_an_engine_keeps_nothing_of_a_query(gallery, extractor):
    engine = Engine(gallery, extractor)
    query = engine.prepare((GALLERY / "petra.jpg").read_bytes())
    engine.search(query, rerank="diffusion", verify="sift")
    gone = weakref.ref(query)
    del query
    gc.collect()
    assert gone() is None


def test_what_was_looked_at_before_does_not_change_an_answer(engine, monkeypatch):
    """A photo below the shortlist, verified by the match viewer, must not jump up afterwards."""
    monkeypatch.setattr(Sift, "shortlist", 0)
    find = engine.store.catalogue.find
    query = engine.prepare(find("colosseum.jpg").id)
    fresh = files(engine.search(query, rerank="diffusion", verify="sift"))
    assert engine.explain(query, find("colosseum-2.jpg").id).verified
    again = engine.search(query, rerank="diffusion", verify="sift")
    assert files(again) == fresh and not any(hit.verified for hit in again.hits)


def test_explain_looks_at_photos_beyond_the_shortlist(engine, monkeypatch):
    query = engine.prepare(engine.store.catalogue.find("colosseum.jpg").id)
    other = engine.store.catalogue.find("colosseum-2.jpg").id
    monkeypatch.setattr(Sift, "shortlist", 0)
    hit = engine.explain(query, other)
    assert hit.verified and hit.verification.inliers == hit.inliers == len(
        hit.verification.query_points
    )
    with pytest.raises(KeyError):
        engine.explain(query, 100_000)


def test_photos_that_cannot_be_read_are_said_and_nothing_breaks(engine, monkeypatch):
    monkeypatch.setattr(Sift, "first", Sift.shortlist)
    data = (GALLERY / "taj-mahal.jpg").read_bytes()
    whole = engine.search(engine.prepare(data), verify="sift", k=len(engine.store))
    compared = [hit.id for hit in whole.hits if hit.inliers is not None]
    assert len(compared) == Sift.shortlist
    query, gone = engine.prepare(data), compared[5:15:7]

    def gallery_features(id):
        if id in gone:
            raise FileNotFoundError
        return engine.store.local_features(id)

    matcher = engine.matchers["sift"]
    monkeypatch.setattr(matcher, "gallery_features", gallery_features)
    monkeypatch.setattr(matcher, "query_features", gallery_features)
    result = engine.search(query, verify="sift", k=len(engine.store))
    assert len(result.hits) == len(engine.store) and result.notes == [
        "2 photos could not be verified: changed or missing on disk."
    ]
    looked_at = {hit.id for hit in result.hits if hit.inliers is not None}
    assert looked_at == set(compared) - set(gone)
    assert "the file of the query" in ask(engine, gone[0], verify="sift").notes[0]


def test_bad_queries(engine):
    with pytest.raises(UnsupportedImage):
        engine.prepare(b"no photo")
    with pytest.raises(KeyError):
        engine.prepare(10_000)
    with pytest.raises(ValueError, match="at least one photo"):
        engine.prepare([])
    with pytest.raises(ValueError, match="empty or outside"):
        engine.prepare(1, (0.5, 0, 0.5, 1))
    with pytest.raises(ValueError, match="single photo"):
        engine.prepare([1, 2], (0, 0, 0.5, 1))
    with pytest.raises(ValueError, match="no matcher 'magic', only sift, xfeat"):
        engine.prepare(1, matchers=("magic",))
    with pytest.raises(ValueError, match="without keypoints for sift"):
        data = (GALLERY / "wine.jpg").read_bytes()
        engine.search(engine.prepare(data, matchers=()), verify="sift")


def test_command_prints_one_json_object(gallery_path, tmp_path, capsys):
    query = shutil.copy(GALLERY / "colosseum.jpg", tmp_path / "query.jpg")
    options = ["--store", str(gallery_path), "--diffusion", "--sift", "-k", "5", "--json"]
    assert main([str(query), *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"] == str(query) and len(answer["hits"]) == 5
    best = answer["hits"][1]
    assert (
        best["file"] == "colosseum-2.jpg"
        and best["inliers"] >= Sift.floor
        and best["verified"] is True
    )
    assert set(best["stage_ranks"]) == {"descriptor", "details", "diffusion", "sift", "graph"}
    assert set(answer["timings_ms"]) == {
        "decode",
        "describe",
        "keypoints",
        "index",
        "details",
        "diffusion",
        "sift",
        "graph",
    }


def test_command_prints_a_table_and_clear_errors(gallery_path, tmp_path, capsys):
    assert main([str(GALLERY / "wine.jpg"), "--store", str(gallery_path), "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "the", "same?", "similarity", "points", "photo"]
    assert lines[1].split()[:2] == ["1", "sure"] and lines[1].endswith("wine.jpg")
    assert len(lines) == 6 and "describe" in lines[5]
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    for query, store, sentence in [
        (tmp_path / "bad.jpg", gallery_path, "not a photo in a supported format"),
        (tmp_path / "none.jpg", gallery_path, "No such file"),
        (GALLERY / "wine.jpg", tmp_path / "none", "There is no store"),
    ]:
        assert main([str(query), "--store", str(store)]) == 1
        assert sentence in capsys.readouterr().err


# -- several photos of one thing -------------------------------------------------------------------
# -----------------------------------------------------------------------


def test_several_photos_are_one_query(engine):
    """The mean of their descriptors; none is a hit; the third view comes first."""
    ids = [engine.store.catalogue.find(name).id for name in ("taj-mahal.jpg", "taj-mahal-2.jpg")]
    rows = engine.store.descriptors[ids].astype(np.float32)
    query = engine.prepare(ids)
    mean = rows.sum(0) / np.linalg.norm(rows.sum(0))
    np.testing.assert_allclose(query.descriptor, mean, atol=1e-6)
    for toggles in TOGGLES:
        hits = engine.search(query, k=len(engine.store), **toggles).hits
        assert hits[0].file == "taj-mahal-3.jpg" and len(hits) == len(engine.store) - 2
        assert not {hit.id for hit in hits} & set(ids)


def test_the_best_evidence_of_several_photos_wins(engine):
    find, store = engine.store.catalogue.find, engine.store
    ids = [find("wine.jpg").id, find("colosseum.jpg").id]
    together = engine.prepare(ids)
    alone = [engine.prepare(id) for id in ids]
    evidence = engine.explain(together, find("colosseum-2.jpg").id)
    assert evidence.verified and evidence.verification.photo == 1
    one, other = (engine.explain(query, find("colosseum-2.jpg").id) for query in alone)
    assert evidence.inliers == other.inliers > one.inliers
    looked_at = {hit.id for hit in engine.search(together, verify="sift", k=len(store)).hits[:9]}
    for id in looked_at:
        best = max(engine.explain(query, id).inliers for query in alone)
        assert engine.explain(together, id).inliers == best


def test_uploads_and_gallery_photos_mix_and_copies_are_known(engine):
    find = engine.store.catalogue.find
    upload = (GALLERY / "taj-mahal.jpg").read_bytes()
    query = engine.prepare([upload, find("taj-mahal-2.jpg").id])
    assert query.copy_ids.tolist() == [find("taj-mahal.jpg").id]
    hits = files(engine.search(query, rerank="diffusion", verify="sift"), 2)
    assert set(hits) == {"taj-mahal.jpg", "taj-mahal-3.jpg"}
    (only,) = {photo.id for photo in query.photos if photo.file == "taj-mahal-2.jpg"}
    assert only in query.own_ids and set(query.in_gallery) == {only, *query.copy_ids}


def test_every_copy_of_the_query_counts_as_the_query(photos, tmp_path, extractor):
    """A second copy is no evidence for the first: not as a seed, and not in the query's scale."""
    for quality in (95, 60):
        with Image.open(GALLERY / "taj-mahal.jpg") as image:
            image.save(photos / f"copy-{quality}.jpg", quality=quality)
    build(photos, tmp_path / "s", extractor)
    engine = Engine(Store(tmp_path / "s", extractor), extractor)
    find = engine.store.catalogue.find
    names = ("copy-60.jpg", "copy-95.jpg", "taj-mahal.jpg")
    copies = {find(name).id for name in names}
    upload = engine.prepare((GALLERY / "taj-mahal.jpg").read_bytes())
    known = engine.prepare(find("taj-mahal.jpg").id)
    assert set(upload.copy_ids) == set(upload.in_gallery) == copies
    assert set(known.in_gallery) == copies and len(known.copy_ids) == 2
    plain = engine.prepare((GALLERY / "taj-mahal.jpg").read_bytes())
    assert not set(nearest_seeds(plain, plain.candidates, engine.store)[0]) & copies
    for stages in ({}, {"rerank": "diffusion"}, {"rerank": "diffusion", "verify": "sift"}):
        hits = engine.search(upload, **stages).hits
        assert {hit.id for hit in hits[:3]} == copies
        assert {hit.file for hit in hits[3:5]} == {"taj-mahal-2.jpg", "taj-mahal-3.jpg"}


def test_recall_reranks_once(engine, monkeypatch):
    query = engine.prepare(0)
    engine.search(query, "diffusion", "sift")
    reranker, calls = engine.rerankers["diffusion"], []
    monkeypatch.setattr(
        reranker, "rerank", lambda *a, rerank=reranker.rerank: calls.append(len(a)) or rerank(*a)
    )
    assert engine.search_cached(query, "diffusion", "sift") is not None
    assert calls == [2, 3], "before the verified photos are known, and after"


def test_command_takes_several_photos(small_built, capsys):
    names = [str(GALLERY / f"taj-mahal{part}.jpg") for part in ("", "-2")]
    options = ["--store", str(small_built / "store"), "--sift", "-k", "3", "--json"]
    assert main([*names, *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"] == names
    found = {hit["file"] for hit in answer["hits"]}
    assert found == {"taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"}
    with pytest.raises(SystemExit):
        main([*names, *options, "--region", "0,0,1,0.5"])
    assert "single photo" in capsys.readouterr().err


def run_search(store: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "search", *arguments, "--store", str(store)]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True)


def test_command_answers_each_photo_by_itself(small_built, tmp_path):
    """Two views of one thing, a damaged and a missing photo, and one from standard input."""
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    missing = str(tmp_path / "two\nlines.jpg")
    names = [str(GALLERY / "taj-mahal.jpg"), str(tmp_path / "bad.jpg"), missing, "-"]
    options = ["--each", "--sift", "-k", "2"]
    stdin = (GALLERY / "colosseum.jpg").read_bytes()
    done = run_search(small_built / "store", *names, *options, stdin=stdin)
    assert done.returncode == 1 and done.stderr == b""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == names
    best = [[hit["file"] for hit in answer.get("hits", [])] for answer in answers]
    assert best[0][0] == "taj-mahal.jpg" and best[0][1] in ("taj-mahal-2.jpg", "taj-mahal-3.jpg")
    assert best[1:] == [[], [], ["colosseum.jpg", "colosseum-2.jpg"]]
    assert set(answers[1]) == set(answers[2]) == {"query", "error"}
    assert "not a photo in a supported format" in answers[1]["error"]
    assert "No such file" in answers[2]["error"]
    alone = run_search(small_built / "store", names[0], "--sift", "-k", "2", "--json")
    assert alone.returncode == 0
    assert json.loads(alone.stdout)["hits"] == answers[0]["hits"]


def test_each_photo_is_answered_without_an_error(small_built):
    done = run_search(small_built / "store", str(GALLERY / "wine.jpg"), "--each")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1


def test_standard_input_is_one_photo_within_the_limit_of_files(
    small_built, tmp_path, monkeypatch, capsys
):
    options = ["--store", str(small_built / "store")]
    with pytest.raises(SystemExit):
        main(["-", "-", *options])
    assert "only once" in capsys.readouterr().err
    monkeypatch.setenv("GEM_PHOTO_MB", "1")
    for size, sentence in (
        (2**20, "not a photo in a supported format"),
        (2**20 + 1, "at most 1 MB are allowed"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(size))))
        assert main(["-", *options]) == 1
        assert sentence in capsys.readouterr().err


# -- another generation ----------------------------------------------------------------------------
# ----------------------------------------------------------------------------------


def test_a_query_is_renewed_for_another_generation(photos, tmp_path, extractor, monkeypatch):
    """Uploads keep descriptor and keypoints; gallery photos are found again by their file."""
    build(photos, tmp_path / "s", extractor)
    old = Engine(Store(tmp_path / "s", extractor), extractor)
    gallery_id = old.store.catalogue.find("taj-mahal-2.jpg").id
    upload = (GALLERY / "taj-mahal.jpg").read_bytes()
    mixed, whole = old.prepare([upload, gallery_id]), old.prepare(gallery_id, (0, 0, 1, 0.5))
    old.search(mixed, verify="sift")
    for name in ("brandenburg-gate.jpg", "bulb.jpg"):  # ids move
        (photos / name).unlink()
    build(photos, tmp_path / "s", extractor)
    new = Engine(Store(tmp_path / "s", extractor), extractor)
    with pytest.raises(ValueError, match="renew"):
        new.search(mixed)
    fresh = new.prepare([upload, new.store.catalogue.find("taj-mahal-2.jpg").id])
    described, describe = [], type(extractor).describe
    monkeypatch.setattr(
        type(extractor), "describe", lambda self, *a: described.append(a) or describe(self, *a)
    )
    renewed = new.renew(mixed)
    assert described == [] and renewed.cost_ms.keys() == {"index"}
    for toggles in TOGGLES:
        hits = new.search(renewed, k=20, **toggles).hits
        again = new.search(fresh, k=20, **toggles).hits
        assert [(h.file, h.score, h.inliers) for h in hits] == [
            (h.file, h.score, h.inliers) for h in again
        ]
    part = new.renew(whole)
    assert len(described) == 1 and part.region == (0, 0, 1, 0.5)
    np.testing.assert_allclose(part.descriptor, whole.descriptor, atol=1e-5)
    (photos / "taj-mahal-2.jpg").unlink()
    build(photos, tmp_path / "s", extractor)
    with pytest.raises(KeyError, match="taj-mahal-2.jpg"):
        Engine(Store(tmp_path / "s", extractor), extractor).renew(mixed)


def test_a_query_of_another_model_is_refused(gallery, extractor):
    engine = Engine(gallery, extractor)
    query = engine.prepare(3)
    query.model = "another"
    with pytest.raises(ValueError, match="another model"):
        engine.renew(query)


def test_hits_are_named_by_one_look_up(engine, monkeypatch):
    query = engine.prepare(3)
    asked = []

    def counted(self, ids, original=Catalogue.photos_of):
        asked.append(len(ids))
        return original(self, ids)

    monkeypatch.setattr(Catalogue, "photos_of", counted)
    monkeypatch.setattr(Catalogue, "photo", None)  # one by one would raise
    hits = engine.search(query, k=len(engine.store)).hits
    assert asked == [len(hits)] == [len(engine.store) - 1]
    assert hits[7].file == {p.id: p.file for p in engine.store.catalogue.photos()}[hits[7].id]


def test_what_is_no_photo_is_refused_in_a_sentence(engine):
    for wrong in ("a.jpg", Path("a.jpg"), None, 0.5, engine):
        with pytest.raises(
            TypeError, match="A photo is a file's bytes, decoded pixels or a gallery"
        ):
            engine.prepare(wrong)
    for pixels in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")):
        with pytest.raises(ValueError, match="uint8 of shape"):
            engine.prepare(pixels)


def test_there_are_no_fewer_than_no_hits(engine):
    query = engine.prepare(0)
    assert engine.search(query, k=0).hits == ()
    with pytest.raises(ValueError, match="-3 hits"):
        engine.search(query, k=-3)
