"""The page as Streamlit's own test runner sees it: what it says, and what it hands to the browser
to draw.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from extractor import encode_jpeg, read_photo
from index_store import Store, build
from index_store.ann.nearest import exact_search
from search import Engine, Hit, PreparedQuery, SearchResult
from serving.galleries.about import about
from serving.galleries.galleries import galleries
from serving.galleries.pictures import thumbnail_url
from serving.galleries.samples import sample_queries
from serving.refusal import Refused
from tests.conftest import GALLERY, PATIENCE, ROOT
from ui.routes import ROUTES
from ui.state.answer import MAX_PREPARED
from ui.state.query_image import PICTURE_QUALITY
from ui.state.question import FIRST_PAGE
from ui.widgets.component import key_of
from ui.widgets.evidence import escape_markdown
from ui.widgets.results import movement, tile
from ui.widgets.timing import timing_bar


@pytest.fixture
def app(gallery_path, monkeypatch) -> AppTest:
    monkeypatch.setenv("GEM_STORE", str(gallery_path))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)


def walk(node):
    yield node
    for child in getattr(node, "children", {}).values():
        yield from walk(child)


def drawn(app: AppTest, name: str) -> list[dict]:
    """What our own components of one name were given to draw."""
    assert not app.exception
    nodes = [node.proto for node in walk(app.main) if getattr(node, "type", "") == "bidi_component"]
    return [json.loads(proto.json) for proto in nodes if proto.component_name == name]


def panes(app: AppTest) -> list[dict]:
    """What the result grids were given to draw."""
    return [pane for data in drawn(app, "results") for pane in data["panes"]]


def files(*panes: dict) -> list[str]:
    """All hits of panes in order, those folded under others too."""
    tiles = [hit for pane in panes for hit in pane["hits"]]
    return [one["file"] for hit in tiles for one in (hit, *hit["copies"])]


def press(app: AppTest, label: str) -> None:
    [button] = [b for b in app.button if b.label == label]
    button.click().run()


def labels(app: AppTest) -> list[str]:
    return [b.label for b in app.button]


def titles(pane: dict, count: int) -> list[str]:
    return [hit["title"] for hit in pane["hits"][:count]]


def html_of(app: AppTest) -> str:
    return " ".join(
        node.proto.body for node in walk(app.main) if getattr(node, "type", "") == "html"
    )


def upload(app: AppTest, name: str, data: bytes | None = None) -> AppTest:
    app.run()
    app.file_uploader[0].set_value(
        [(name, data or (GALLERY / name).read_bytes(), "image/jpeg")]
    ).run()
    return app


MISSED = "le-musee.jpg"


def samples(app: AppTest) -> list[str]:
    return [b.label for b in app.button if b.key.startswith("sample-")]


def test_start_page_invites(app, gallery):
    app.run()
    assert not app.exception
    said = about(gallery)
    assert samples(app) == [said.title(file, title(file)) for file in said.file.samples]
    assert samples(app)[0] == "Brandenburg gate" and samples(app)[-1] == "Louvre by day"
    assert "this gallery knows only by night" in html_of(app)
    assert said.file.sentence in html_of(app) and "https://gcompris.net/" in html_of(app)
    assert "very same thing" in html_of(app) and "310 photos" in html_of(app)
    # Streamlit forgets its own pictures between two runs of a script, before a slow browser has
    # fetched them; these have addresses that stay.
    ids = [int(b.key.removeprefix("sample-")) for b in app.button if b.key.startswith("sample-")]
    assert all(f'src="{thumbnail_url(gallery, id)}"' in html_of(app) for id in ids)
    assert not app.get("image")


def title(file: str) -> str:
    return file.removesuffix(".jpg").replace("-", " ").capitalize()


def test_upload_search_and_toggle(app):
    upload(app, "eiffel-tower.jpg")
    (pane,) = panes(app)
    assert (
        set(titles(pane, 3)) == {"Eiffel tower", "Eiffel tower 2", "Tour eiffel"}
        and len(pane["hits"]) < 24
    )
    assert [hit["confidence"] for hit in pane["hits"][:2]] == ["sure", "sure"]
    assert int(pane["hits"][0]["points"].removesuffix(" points")) >= 10
    assert pane["hits"][0]["thumbnail"].endswith("/thumbnail.jpg")
    for stage in ("decode", "describe", "keypoints", "index", "details", "Diffusion", "SIFT"):
        assert stage in html_of(app)

    app.toggle(key="sift").set_value(False).run()
    without, *_ = panes(app)
    assert not any(hit["points"] for hit in without["hits"]) and "SIFT" not in html_of(app)

    app.toggle(key="diffusion").set_value(False).run()
    unranked, *_ = panes(app)
    scores = [float(hit["detail"].split()[-1]) for hit in unranked["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_compare_shows_both_and_how_far_each_photo_moved(app):
    upload(app, "tour-eiffel.jpg")
    app.toggle(key="compare").set_value(True).run()
    off, on = panes(app)
    assert (off["heading"], on["heading"]) == ("Rerank off", "Diffusion + SIFT")
    before = {hit["file"]: rank for rank, hit in enumerate(off["hits"], 1)}
    assert all(hit["move"] == "" for hit in off["hits"])
    seen = set()
    for rank, hit in enumerate(on["hits"], 1):
        if hit["file"] not in before:
            expected = "new"
        elif before[hit["file"]] == rank:
            expected = ""
        else:
            expected = (
                f"{'▲' if before[hit['file']] > rank else '▼'}{abs(before[hit['file']] - rank)}"
            )
        assert hit["move"] == expected
        seen.add(expected[:1])
    assert {"▲", "▼"} <= seen


def test_sample_query_and_shared_link(app):
    app.run()
    app.button(key=[b.key for b in app.button if b.label == "Colosseum"][0]).click().run()
    (pane,) = panes(app)
    assert titles(pane, 1) == ["Colosseum 2"]
    assert app.query_params["photo"] in ("colosseum.jpg", ["colosseum.jpg"])

    link = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    link.query_params["photo"] = "brandenburg-gate.jpg"
    link.query_params["sift"] = "false"
    link.run()
    (pane,) = panes(link)
    assert titles(pane, 1) == ["Brandenburg gate 2"] and pane["hits"][0]["points"] == ""


def test_link_to_a_photo_that_is_not_there(app):
    app.query_params["photo"] = "../../etc/passwd"
    app.run()
    assert (
        not app.exception and "not in the gallery" in app.error[0].value and len(samples(app)) == 7
    )


@pytest.mark.parametrize(
    "data, sentence",
    [(b"no photo", "not a photo"), (b"\xff\xd8\xff\xe0 cut", "not a photo|damaged")],
)
def test_what_cannot_be_read_gets_one_sentence(app, data, sentence):
    upload(app, "holiday.jpg", data)
    assert not app.exception and len(app.error) == 1
    assert any(part in app.error[0].value for part in sentence.split("|"))
    assert len(samples(app)) == 7, "the start page is still there"
    upload(app, "petra.jpg")
    assert not app.error and titles(panes(app)[0], 1) == ["Petra"], "and the next photo clears it"


def test_weaker_matches_are_folded_away(app):
    upload(app, "petra.jpg")
    (strong,) = panes(app)
    assert "Show more" not in labels(app)
    press(app, "Show weaker matches")
    again, weak = panes(app)
    assert (
        again == strong and weak["heading"] == "Weaker matches" and len(files(strong, weak)) == 24
    )
    percent = [int(hit["detail"].split()[0]) for hit in strong["hits"] + weak["hits"]]
    assert (
        percent == sorted(percent, reverse=True)
        and percent[len(strong["hits"]) - 1] >= 5 >= percent[-1]
    )
    press(app, "Show more")
    assert len(files(*panes(app))) == 48
    press(app, "New search")
    assert "very same thing" in html_of(app)
    upload(app, "petra.jpg")
    assert panes(app) == [strong], "a new search is folded again"


def test_when_nothing_is_likely_the_page_says_so_and_folds_nothing(app):
    app.query_params["photo"] = MISSED
    app.run()
    (pane,) = panes(app)
    assert len(files(pane)) == 24 and {hit["confidence"] for hit in pane["hits"]} == {"unsure"}
    assert "Nothing here is likely to be the same thing" in app.caption[
        0
    ].value and "Show more" in labels(app)


def test_missing_store_is_said_in_a_sentence(app, monkeypatch, tmp_path):
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "none"))
    app.run()
    assert not app.exception and "cannot be opened" in app.error[0].value
    assert str(tmp_path) not in app.error[0].value


def test_file_names_are_never_markup(app):
    upload(app, "<img src=x onerror=alert(1)>.jpg", (GALLERY / "wine.jpg").read_bytes())
    assert "<img src=x" not in html_of(app) and "&lt;img src=x" in html_of(app)


def test_names_are_not_read_as_markdown():
    assert (
        escape_markdown("1. *a*_b_[x](http://y) $z$.jpg")
        == r"1\. \*a\*_b_\[x\]\(http\:\/\/y\) \$z\$\.jpg"
    )


def test_show_more_reaches_the_last_photo(photos, tmp_path, extractor, monkeypatch):
    monkeypatch.setattr("ui.state.question.FIRST_PAGE", 11)
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    app = upload(AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE), "wine.jpg")
    press(app, "Show weaker matches")
    assert len(files(*panes(app))) == 11
    press(app, "Show more")
    assert len(files(*panes(app))) == 12 and "Show more" not in labels(app)


def test_movement():
    assert movement(2, 5) == ("▲3", "up") and movement(5, 4) == ("▼1", "down")
    assert movement(1, 1) == ("", "") and movement(9, None) == ("new", "new")


def test_timing_bar_fades_what_was_reused():
    bar = timing_bar(SearchResult([], {"diffusion": 2.5}, {"describe": 97.5}))
    assert (
        bar.count('class="reused"') == 2
        and "width:97.5%" in bar
        and "describe 98 ms" in bar
        and "2.5 ms" in bar
    )


def test_samples_of_any_store(small_built, extractor):
    chosen = sample_queries(Store(small_built / "store", extractor))
    assert 3 <= len(chosen) <= 7 and len({photo.id for photo in chosen}) == len(chosen)
    assert chosen[0].file.startswith(("colosseum", "brandenburg", "taj")), (
        "photos that have a match come first"
    )


def test_photo_routes(gallery, gallery_path, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(gallery_path))
    galleries().wait_until_open()
    client = TestClient(Starlette(routes=ROUTES))
    answer = client.get(thumbnail_url(gallery, 5))
    assert answer.status_code == 200 and answer.content == gallery.thumbnail(5)
    assert (
        answer.headers["content-type"] == "image/jpeg"
        and "immutable" in answer.headers["cache-control"]
    )
    view = client.get(thumbnail_url(gallery, 5).replace("thumbnail", "view"))
    assert view.status_code == 200 and len(view.content) > len(answer.content)
    for wrong in (
        "photos/0/5/thumbnail.jpg",
        f"photos/{gallery.version}/310/thumbnail.jpg",
        f"photos/{gallery.version}/5/x.jpg",
        f"photos/{gallery.version}/{'9' * 5000}/view.jpg",
        f"photos/{gallery.version}/-1/view.jpg",
        f"photos/{gallery.version}/٣/view.jpg",
    ):
        assert client.get(wrong).status_code == 404


def test_a_part_of_the_photo_is_searched_with(app):
    upload(app, "taj-mahal.jpg")
    engine = galleries().first().engine  # the page's own
    whole = panes(app)
    across = next(s for s in app.slider if s.key.startswith("across"))
    across.set_value((25, 75)).run()
    region = (0.25, 0.0, 0.75, 1.0)
    # A part is cut out of the picture that the session keeps.
    picture = encode_jpeg(read_photo(GALLERY / "taj-mahal.jpg"), PICTURE_QUALITY)
    query = engine.prepare(picture, region)
    expected = engine.search(query, rerank="diffusion", verify="sift", k=FIRST_PAGE)
    (pane,) = panes(app)
    assert files(pane) == [hit.file for hit in expected.hits if not hit.is_weak]
    assert "A part of it" in html_of(app) and app.query_params["part"] in (
        "25,0,75,100",
        ["25,0,75,100"],
    )
    assert drawn(app, "part")[0]["frame"] == [25, 0, 75, 100]
    down = next(s for s in app.slider if s.key.startswith("down"))
    down.set_value((100, 100)).run()
    assert drawn(app, "part")[0]["frame"] == [25, 95, 75, 100]
    press(app, "New search")
    upload(app, "taj-mahal.jpg")
    assert panes(app) == whole, "a new search is with the whole photo again"


def test_an_uploader_that_was_replaced_changes_nothing():
    """On a slow line its change may arrive after the search it began."""

    def script():
        import streamlit as st

        from ui.state.actions import take_uploads

        st.session_state.uploaded = "the search under way"
        take_uploads("upload-of-before", False)

    app = AppTest.from_function(script, default_timeout=PATIENCE).run()
    assert not app.exception and app.session_state["uploaded"] == "the search under way"


def in_session(app: AppTest) -> dict[tuple, PreparedQuery]:
    """The prepared queries that the session keeps."""
    return app.session_state["prepared"] if "prepared" in app.session_state else {}


def test_a_click_prepares_nothing_anew(app, monkeypatch):
    upload(app, "eiffel-tower.jpg")
    (query,) = in_session(app).values()
    monkeypatch.setattr(Engine, "prepare", None)  # calling it again would raise
    app.toggle(key="sift").set_value(False).run()
    app.toggle(key="compare").set_value(True).run()
    assert len(panes(app)) == 2 and list(in_session(app).values()) == [query]
    assert "decoded" not in app.session_state, "the pixels are let go"


def test_the_session_keeps_few_queries_and_a_new_search_none(app):
    upload(app, "taj-mahal.jpg")
    for left in range(5, 5 * (MAX_PREPARED + 2), 5):
        across = next(s for s in app.slider if s.key.startswith("across"))
        across.set_value((left, 100)).run()
        assert not app.exception
    kept = list(in_session(app).values())
    assert len(kept) == MAX_PREPARED and kept[-1].region == (left / 100, 0.0, 1.0, 1.0)
    press(app, "New search")
    assert not in_session(app) and "uploaded" not in app.session_state


def test_a_search_goes_on_in_a_new_generation(photos, tmp_path, extractor, monkeypatch):
    """The upload is not described again: its bytes are gone."""
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    app = upload(AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE), "colosseum.jpg")
    before = files(panes(app)[0])
    assert before[:2] == ["colosseum.jpg", "colosseum-2.jpg"]
    (query,) = in_session(app).values()
    (photos / "colosseum.jpg").unlink()
    build(photos, tmp_path / "s", extractor)
    galleries().wait_until_open()
    monkeypatch.setattr(Engine, "prepare", None)  # calling it again would raise
    app.run()
    after = [hit["file"] for hit in panes(app)[0]["hits"]]
    assert after[0] == "colosseum-2.jpg" and "colosseum.jpg" not in after
    (renewed,) = in_session(app).values()
    assert renewed.generation != query.generation and renewed.photos == query.photos


def test_a_part_of_a_photo_that_is_gone_is_said(photos, tmp_path, extractor, monkeypatch):
    build(photos, tmp_path / "s", extractor)
    (photos / "colosseum.jpg").unlink()
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["photo"] = "colosseum.jpg"
    app.run()
    whole = panes(app)
    assert whole[0]["hits"][0]["file"] == "colosseum-2.jpg" and not app.warning
    across = next(s for s in app.slider if s.key.startswith("across"))
    across.set_value((25, 75)).run()
    assert "changed or is gone" in app.warning[0].value and panes(app) == whole


def test_samples_are_chosen_once_for_each_generation(app, monkeypatch):
    app.run()
    assert len(samples(app)) == 7
    # Calling it again would raise.
    monkeypatch.setattr("serving.galleries.galleries.sample_queries", None)
    again = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    assert not again.exception and labels(again) == labels(app)


def test_without_a_probability_nothing_is_said_of_it(gallery):
    hit = Hit(3, "a.jpg", "A", score=0.5, similarity=0.5, probability=None, stage_ranks={})
    drawn = tile(gallery, hit)
    assert drawn["confidence"] == "" and drawn["detail"] == "similarity 0.500, score 0.50"
    assert not hit.is_weak, "and nothing is folded away"


def test_several_photos_of_one_thing_are_one_query(app):
    names = ("taj-mahal.jpg", "taj-mahal-3.jpg")
    app.run()
    engine = galleries().first().engine
    photos = [(name, (GALLERY / name).read_bytes(), "image/jpeg") for name in names]
    app.file_uploader[0].set_value(photos).run()
    query = engine.prepare([read_photo(GALLERY / name) for name in names])
    expected = engine.search(query, rerank="diffusion", verify="sift", k=FIRST_PAGE)
    (pane,) = panes(app)
    assert files(pane) == [h.file for h in expected.hits if not h.is_weak]
    assert [item["title"] for item in drawn(app, "chips")[0]["items"]] == list(names)
    assert len(app.query_params["upload"]) == 2 and not drawn(app, "part"), "a part is of one photo"
    add = next(one for one in app.file_uploader if one.key.startswith("add"))
    add.set_value([("third.jpg", (GALLERY / "taj-mahal-2.jpg").read_bytes(), "image/jpeg")]).run()
    titles = [item["title"] for item in drawn(app, "chips")[0]["items"]]
    assert titles == [*names, "third.jpg"] and len(app.query_params["upload"]) == 3
    assert panes(app)[0]["hits"][0]["file"].startswith("taj-mahal")


def test_what_is_said_of_hits_moves_the_answer_and_says_why(app, engine):
    app.query_params["photo"] = "taj-mahal.jpg"
    app.run()
    (before,) = panes(app)
    right, wrong = before["hits"][0]["file"], before["hits"][-1]["file"]
    app.query_params["more"], app.query_params["less"] = [right], [wrong]
    app.run()
    (after,) = panes(app)
    assert not {right, wrong} & set(files(after))
    assert app.caption[0].value.startswith(
        "Moved towards the photos you marked as right: 1, and away"
    )
    assert "rose" in app.caption[0].value and "new here" in app.caption[0].value
    assert "from the query" in after["hits"][0]["detail"]
    assert [item["kind"] for item in drawn(app, "chips")[0]["items"]] == ["more", "less"]
    find = engine.store.catalogue.find
    query = engine.refine(
        engine.prepare(find("taj-mahal.jpg").id), [find(right).id], [find(wrong).id]
    )
    expected = engine.search(query, rerank="diffusion", verify="sift", k=5)
    shown = files(after)[:5]  # fewer where the others are folded
    assert len(shown) > 1 and shown == [hit.file for hit in expected.hits][: len(shown)]


def compared(app: AppTest, **left: str) -> list[dict]:
    """The two panes of a search, the left one found in a way that the address says."""
    asked = {"photo": "tour-eiffel.jpg", "compare": "true"}
    for name, value in (asked | {f"left-{what}": value for what, value in left.items()}).items():
        app.query_params[name] = value
    return panes(app.run())


def test_two_ways_are_compared(app):
    left, right = compared(app, reranker="alpha-qe")
    assert (left["heading"], right["heading"]) == ("Query expansion", "Diffusion + SIFT")
    assert left["time"].endswith(" ms") and right["time"].endswith(" ms")
    both = set(files(left)[:10]) & set(files(right)[:10])
    assert app.caption[-1].value == f"{len(both)} of the top 10 are in both."
    app.selectbox(key="reranker").set_value("k-reciprocal").run()
    assert panes(app)[1]["heading"] == "k-reciprocal + SIFT"


def test_two_forms_of_index_are_compared(app):
    left, right = compared(app, index="flat")
    assert left["heading"] == "flat: Rerank off"
    assert right["heading"] == "ivf-pq: Diffusion + SIFT"
    store = galleries().first().engine.store
    id = store.catalogue.find("tour-eiffel.jpg").id
    nearest, _ = exact_search(store.descriptors, np.float32(store.descriptors[[id]]), 25)
    assert files(left) == [store.catalogue.photo(int(near)).file for near in nearest[0][1:]]
    app.selectbox(key="left-index").set_value("hnsw-pq").run()
    assert panes(app)[0]["heading"] == "hnsw-pq: Rerank off"
    assert panes(app)[1] == right | {"time": panes(app)[1]["time"]}, "the other one stays"


def test_the_link_of_an_upload_works_for_a_while(app, monkeypatch):
    upload(app, "eiffel-tower.jpg")
    (expected,) = panes(app)
    token = app.query_params["upload"]

    def follow(**more: str) -> AppTest:
        link = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
        for name, value in (("upload", token), *more.items()):
            link.query_params[name] = value
        return link.run()

    link = follow()
    assert panes(link) == [expected] and "Its picture was not kept" in html_of(link)
    assert drawn(link, "link")[0]["ends"] > 0 and not drawn(link, "part")
    assert panes(follow(part="25,0,75,100")) == [expected], "no part without a picture"
    monkeypatch.setattr("serving.galleries.upload_cache.UploadCache.find", lambda self, token: None)
    late = follow()
    assert not late.exception and "has expired" in late.error[0].value
    assert "very same thing" in html_of(late)


def test_the_part_and_the_page_are_in_the_link(app):
    app.query_params["photo"], app.query_params["part"] = "taj-mahal.jpg", "25,0,75,100"
    app.query_params["shown"] = "48"
    app.session_state["weaker"] = True
    app.run()
    assert drawn(app, "part")[0]["frame"] == [25, 0, 75, 100] and "A part of it" in html_of(app)
    assert len(files(*panes(app))) == 48
    for nonsense in ("1,2,3", "50,0,10,100", "a,b,c,d", "9" * 400, "-5,0,50,50"):
        app.query_params["part"], app.query_params["shown"] = nonsense, nonsense
        app.run()
        assert not app.exception and drawn(app, "part")[0]["frame"] == [0, 0, 100, 100]


def test_near_duplicates_are_under_one_tile(photos, tmp_path, extractor, monkeypatch):
    data = (photos / "colosseum.jpg").read_bytes()
    (photos / "copied.jpg").write_bytes(data)
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "s"))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["photo"] = "colosseum-2.jpg"
    app.run()
    best = panes(app)[0]["hits"][0]
    assert {best["file"], *(copy["file"] for copy in best["copies"])} == {
        "colosseum.jpg",
        "copied.jpg",
    }
    assert best["fold"] == "1 more like it"
    assert "copied.jpg" not in [hit["file"] for hit in panes(app)[0]["hits"][1:]]


def test_the_plain_order_is_there_before_the_full_answer(app, monkeypatch):
    def busy(*_, **__):
        raise Refused(503, "Busy, try again in 2 seconds.", 2)

    app.query_params["photo"] = "neuschwanstein-castle.jpg"
    with monkeypatch.context() as instead:
        instead.setattr("ui.state.answer.in_turn", busy)
        app.run()
    plain = panes(app)[0]["hits"]
    assert plain and not any(hit["points"] for hit in plain)
    assert "ordered by their descriptors only" in app.warning[0].value
    press(app, "Try again")
    assert not app.warning and any(hit["points"] for hit in panes(app)[0]["hits"])
    for stage in ("index", "Diffusion", "SIFT"):
        assert stage in html_of(app)


def test_any_name_makes_a_key_that_components_take():
    keys = {key_of("frame", name) for name in ("upload a__b", "photo x__y.jpg", "photo x_y.jpg")}
    assert len(keys) == 3 and not any("__" in key for key in keys)


def click_on_a_photo_that_is_gone():
    from types import SimpleNamespace

    from ui.pages.search import handle_clicks

    catalogue = SimpleNamespace(find=lambda file: None)
    engine = SimpleNamespace(store=SimpleNamespace(catalogue=catalogue))
    press = SimpleNamespace(open="gone.jpg", search="", more="", less="")
    handle_clicks(engine, None, object(), [press])


def test_a_click_on_a_photo_that_a_build_has_removed_is_answered():
    app = AppTest.from_function(click_on_a_photo_that_is_gone, default_timeout=PATIENCE).run()
    assert app.warning[0].value == "This photo is no longer in the gallery." and not app.exception
