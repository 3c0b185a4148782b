"""The API: what it answers, what it refuses and how it says so, and how it is described."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from weakref import WeakKeyDictionary

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from api import endpoints, turns
from api.client import same_thing
from api.client.same_thing import Problem, SameThing
from api.document import document
from api.endpoints import router
from api.routes import HEALTH, ROUTES
from index_store.about import About, Credit, key
from index_store.analysis.things import things
from index_store.graph.matching_graph import no_edges
from serving.galleries.galleries import galleries
from serving.middleware.base_path import at_base_path
from serving.queue.admission import Admission
from serving.settings import Settings, settings
from tests.conftest import FEW_PHOTOS, GALLERY, PATIENCE
from ui.routes import ROUTES as PHOTO_ROUTES


@pytest.fixture
def served(small_built, monkeypatch):
    """The small store, open."""
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    galleries().wait_until_open()
    return galleries().first()


@pytest.fixture
def client(served):
    return TestClient(Starlette(routes=ROUTES), client=("9.9.9.9", 1))


@pytest.fixture
def server(client):
    """The client of one file, without a network between."""
    return SameThing("http://testserver", client=client, retries=0)


def photo_bytes(name: str) -> bytes:
    return (GALLERY / name).read_bytes()


def problem(answer, status: int) -> str:
    """The sentence of a problem, whose form is checked."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["type"] == "about:blank" and found["status"] == status and found["title"]
    return found["detail"]


def fields(**values) -> list:
    """A multipart form; lists are repeated fields, bytes are files."""
    flat = [(k, v) for k, vs in values.items() for v in (vs if isinstance(vs, list) else [vs])]
    return [(k, ("x", v) if isinstance(v, bytes) else (None, str(v))) for k, v in flat]


def search(client, **values):
    return client.post("/api/v1/search", files=fields(**values))


# -- answers ---------------------------------------------------------------------------------------


def test_search_finds_what_the_engine_finds(server, served):
    engine, data = served.engine, photo_bytes("taj-mahal.jpg")
    expected = engine.search(engine.prepare(data), "diffusion", "sift", k=4)
    answer = server.search(data, k=4)
    for hit, known in zip(answer["hits"], expected.hits, strict=True):
        assert (hit["id"], hit["file"], hit["title"]) == (known.id, known.file, known.title)
        assert hit["score"] == pytest.approx(known.score, abs=1e-4)
        assert hit["probability"] == pytest.approx(known.probability, abs=1e-4)
        assert hit["confidence"] == known.confidence and hit["stage_ranks"] == known.stage_ranks
        assert (hit["inliers"], hit["verified"]) == (known.inliers, known.verified)
        assert hit["thumbnail"] == f"/photos/{engine.store.version}/{known.id}/thumbnail.jpg"
        assert (hit["homography"] is None) == (known.verification.homography is None)
    assert answer["generation"] == engine.store.version and answer["model"] == served.name
    assert set(answer["timings_ms"]) >= {"decode", "describe", "keypoints", "diffusion", "sift"}
    np.testing.assert_allclose(answer["hits"][0]["homography"], np.eye(3).ravel(), atol=0.01)


def test_a_hit_names_the_photo_that_contradicts_it(server, client, served):
    engine, data = served.engine, photo_bytes("petra.jpg")
    expected = engine.search(engine.prepare(data), "diffusion", "sift").hits
    named = 0
    for hit, known in zip(server.search(data)["hits"], expected, strict=True):
        found, by = hit["contradicted_by"], known.contradicted_by
        if by is None:
            assert found is None
            continue
        named += 1
        assert (found["id"], found["file"], found["title"]) == (by.id, by.file, by.title)
        assert found["inliers"] == by.inliers
        assert found["strength"] == pytest.approx(by.strength, abs=1e-4)
    assert named >= 2
    schema = {"$ref": "#/components/schemas/SearchAnswer", "components": document()["components"]}
    Draft202012Validator(schema).validate(search(client, photo=data).json())


@pytest.mark.parametrize("rerank", [None, "diffusion", "alpha-qe", "superglobal"])
@pytest.mark.parametrize("matcher", [None, "sift"])
def test_stages_by_name(server, served, rerank, matcher):
    engine, id = served.engine, served.engine.store.catalogue.find("colosseum.jpg").id
    expected = engine.search(engine.prepare(id), rerank, matcher, k=20).hits
    hits = server.search(id, rerank=rerank, matcher=matcher)["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected] and len(hits) == 11


@pytest.mark.parametrize("matcher", [None, "sift"])
def test_verify_is_the_former_name_of_matcher(server, client, matcher):
    stages = {
        stage for hit in server.search(0, matcher=matcher)["hits"] for stage in hit["stage_ranks"]
    }
    assert ("sift" in stages) == (matcher is not None)
    hits = server.search(0, verify=matcher)["hits"]
    assert stages == {stage for hit in hits for stage in hit["stage_ranks"]}
    answer = search(client, id=0, verify=matcher or "none").json()
    assert [hit["stage_ranks"] for hit in answer["hits"]] == [hit["stage_ranks"] for hit in hits]


def test_verify_is_marked_as_deprecated(client):
    schema = client.get("/api/v1/openapi.json").json()["components"]["schemas"]["SearchForm"]
    fields = schema["properties"]
    assert fields["verify"]["deprecated"] and "deprecated" not in fields["matcher"]
    assert fields["verify"]["enum"] == fields["matcher"]["enum"] == ["none", "sift"]
    assert fields["matcher"]["default"] == "sift"


def test_region_and_several_photos(server, served):
    engine, region = served.engine, (0.25, 0.0, 0.75, 1.0)
    data = photo_bytes("taj-mahal.jpg")
    expected = engine.search(engine.prepare(data, region), "diffusion", "sift").hits
    hits = server.search(data, region=region)["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    both = [data, photo_bytes("taj-mahal-2.jpg")]
    expected = engine.search(engine.prepare(both), "diffusion", "sift").hits
    hits = server.search(*both)["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    assert {hit["photo"] for hit in hits[:3]} <= {0, 1}


def test_match_of_two_uploads_a_photo_with_its_own_part(server):
    """The homography and the points are known: the second photo is a part of the first."""
    picture = Image.open(io.BytesIO(photo_bytes("taj-mahal.jpg"))).convert("RGB")
    width, height = picture.size
    part = picture.crop((width // 4, 0, width, height * 3 // 4))
    buffer = io.BytesIO()
    part.save(buffer, "PNG")
    found = server.match(photo_bytes("taj-mahal.jpg"), buffer.getvalue())
    assert found["verified"] and found["confidence"] == "sure" and found["inliers"] > 50
    assert len(found["points"]) == found["inliers"]
    matrix = np.reshape(found["homography"], (3, 3))
    expected = np.array([[4 / 3, 0, -1 / 3], [0, 4 / 3, 0], [0, 0, 1]])
    np.testing.assert_allclose(matrix / matrix[2, 2], expected, atol=0.02)
    x, y, u, v = np.transpose(found["points"])
    np.testing.assert_allclose(u, (x - 0.25) * 4 / 3, atol=0.02)
    np.testing.assert_allclose(v, y * 4 / 3, atol=0.02)


def test_match_of_a_photo_and_an_id_is_the_evidence_of_the_page(server, served):
    engine, id = served.engine, served.engine.store.catalogue.find("taj-mahal-2.jpg").id
    data = photo_bytes("taj-mahal.jpg")
    known = engine.explain(engine.prepare(data), id)
    found = server.match(id, data)  # uploads come first, whatever the order
    assert (found["inliers"], found["verified"]) == (known.inliers, known.verified)
    assert found["probability"] == pytest.approx(known.probability, abs=1e-5)
    assert found["similarity"] == pytest.approx(known.similarity, abs=1e-3)
    alone = server.match(photo_bytes("wine.jpg"), photo_bytes("igloo.jpg"))
    assert not alone["verified"] and alone["confidence"] == "unsure"


def test_photos_and_thumbnails(server, served, client):
    store = served.engine.store
    for id in range(len(FEW_PHOTOS)):
        known, found = store.catalogue.photo(id), server.photo(id)
        assert (found["file"], found["title"]) == (known.file, known.title)
        assert (found["width"], found["height"]) == (known.width, known.height)
    assert server.thumbnail(3) == store.thumbnail(3)
    assert client.get("/api/v1/photos/3/thumbnail").headers["content-type"] == "image/jpeg"
    for wrong in ("12", "-1", "1e1", "٣", "9" * 5000, "0x1"):
        assert "no such photo" in problem(client.get(f"/api/v1/photos/{wrong}"), 404)
        assert "no such photo" in problem(client.get(f"/api/v1/photos/{wrong}/thumbnail"), 404)


@pytest.fixture
def with_hidden(served, monkeypatch):
    """The store with three damaged photos, the first and the last among them."""
    store = served.engine.store
    for owner, name in ((store, "damaged"), (store, "index"), (store.catalogue, "hidden")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # restored after the test
    store.exclude_photos(np.array([0, 5, len(FEW_PHOTOS) - 1]))
    return store.catalogue


@pytest.mark.parametrize("limit", [1, 2, 4, 8, 9, 10, 1000])
def test_pages_list_every_photo_once_but_no_damaged_one(client, with_hidden, limit):
    known = [photo for photo in with_hidden.photos() if photo.id not in with_hidden.hidden]
    listed, start, pages = [], 0, 0
    while start is not None:
        answer = client.get(f"/api/v1/photos?start={start}&limit={limit}").json()
        assert answer["total"] == len(known) == 9
        listed += answer["photos"]
        start, pages = answer["next"], pages + 1
    assert [(one["id"], one["file"]) for one in listed] == [(one.id, one.file) for one in known]
    assert pages == -(-9 // limit), "no page is empty"
    ours = {key: listed[0][key] for key in ("id", "title", "width", "height", "thumbnail", "view")}
    alone = client.get(f"/api/v1/photos/{listed[0]['id']}").json()
    assert ours.items() <= alone.items()
    assert client.get("/api/v1/photos?start=12").json()["photos"] == []


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_list_every_thing_once(client, served, limit):
    store, listed, start = served.engine.store, [], 0
    while start is not None:
        answer = client.get(f"/api/v1/things?start={start}&limit={limit}").json()
        assert len(answer["things"]) <= limit and answer["compared"]
        listed += answer["things"]
        start = answer["next"]
    expected = things(store)
    assert answer["total"] == len(expected) == len(listed) >= 2
    for number, (one, thing) in enumerate(zip(listed, expected)):
        assert (one["number"], one["count"]) == (number, len(thing.ids))
        assert one["face"]["id"] == thing.ids[0] and one["sure"] == pytest.approx(thing.sure)
        ids, place = [], 0
        while place is not None:
            query = f"start={place}&limit={limit}"
            page = client.get(f"/api/v1/things/{number}?{query}").json()
            ids += [photo["id"] for photo in page["photos"]]
            place = page["next"]
        assert tuple(ids) == thing.ids and page["face"] == one["face"]
    assert client.get("/api/v1/things?start=50").json()["things"] == []
    assert "no such thing" in problem(client.get("/api/v1/things/50"), 404)
    assert problem(client.get("/api/v1/things?limit=101"), 422)


def test_a_hit_says_how_many_more_photos_show_its_thing(server, client, served):
    hits = server.search(photo_bytes("colosseum.jpg"))["hits"]
    of_thing = {hit["file"]: hit["thing"] for hit in hits}
    assert of_thing["colosseum.jpg"]["others"] == of_thing["colosseum-2.jpg"]["others"] == 1
    number = of_thing["colosseum.jpg"]["number"]
    photos = client.get(f"/api/v1/things/{number}").json()["photos"]
    assert {photo["file"] for photo in photos} == {"colosseum.jpg", "colosseum-2.jpg"}
    assert of_thing["wine.jpg"] is None


def test_damaged_photos_are_in_no_thing(client, served, with_hidden):
    """Those that are found out while the gallery is served, too."""
    gone = with_hidden.find("colosseum-2.jpg")
    assert gone is not None and client.get("/api/v1/things").json()["total"]
    served.engine.store.exclude_photos(np.array([gone.id]))
    shown = [
        photo["id"]
        for number in range(client.get("/api/v1/things").json()["total"])
        for photo in client.get(f"/api/v1/things/{number}").json()["photos"]
    ]
    assert not set(shown) & with_hidden.hidden and len(with_hidden.hidden) == 4
    assert with_hidden.find("colosseum.jpg").id not in shown, "it is alone now"


def test_without_comparisons_no_thing_is_known(client, served, monkeypatch):
    store = served.engine.store
    monkeypatch.setattr(store, "edges", no_edges(len(store)))
    monkeypatch.setattr("serving.galleries.things._cache", WeakKeyDictionary())
    answer = client.get("/api/v1/things").json()
    assert (answer["compared"], answer["total"], answer["things"]) == (False, 0, [])
    assert "no such thing" in problem(client.get("/api/v1/things/0"), 404)
    assert all(hit["thing"] is None for hit in search(client, id=0).json()["hits"])


def test_a_photo_is_found_by_its_file(server, client, with_hidden):
    for photo in with_hidden.photos():
        found = server.find(photo.file)
        assert (found and found["id"]) == (None if photo.id in with_hidden.hidden else photo.id)
    shown = with_hidden.photo(1).file
    assert client.get("/api/v1/photos", params={"file": shown}).json()["total"] == 1
    assert server.find(f"./{shown}")["id"] == 1
    for wrong in (shown[:-1], shown.upper(), "", "%", "\0", "\ud7ff"):
        assert server.find(wrong) is None


def test_the_client_lists_all_pages_of_one_generation(server, client, with_hidden, monkeypatch):
    monkeypatch.setattr(same_thing, "PAGE", 2)
    assert [one["id"] for one in server.photos()] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    for thing in (listed := list(server.things())):
        of_thing = list(server.photos_of_thing(thing["number"]))
        assert of_thing[0] == thing["face"] and len(of_thing) == thing["count"]
    assert [thing["number"] for thing in listed] == list(range(len(listed))) != []
    begun = server.photos()
    assert next(begun)["id"] == 1
    monkeypatch.setattr(endpoints, "served", lambda _: {"generation": "another", "model": "x"})
    with pytest.raises(Problem, match="rebuilt") as error:
        list(begun)
    assert error.value.status == 409


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, said",
    [
        ({"k": 5}, "send a photo"),
        ({"id": 0, "k": 0}, "k: "),
        ({"id": 0, "k": 201}, "k: .*200"),
        ({"id": 0, "k": "many"}, "k: .*integer"),
        ({"id": 0, "k": [1, 2]}, "k: may be given only once"),
        ({"id": -1}, "id: "),
        ({"id": "9" * 5000}, "id: |form cannot be read"),
        ({"id": 0, "rerank": "magic"}, "rerank: must be one of none, diffusion"),
        ({"id": 0, "rerank": "dba"}, "rerank: must be one of"),
        ({"id": 0, "matcher": "xfeat"}, "matcher: must be one of none, sift"),
        ({"id": 0, "verify": "xfeat"}, "verify: must be one of none, sift"),
        ({"id": 0, "matcher": "sift", "verify": "none"}, "either matcher or verify"),
        ({"id": 0, "region": "0,0,1"}, "region: "),
        ({"id": 0, "region": "0.5,0,0.5,1"}, "region: .*empty"),
        ({"id": 0, "region": "0,0,1,nan"}, "region: "),
        ({"id": [0, 1], "region": "0,0,1,0.5"}, "single photo"),
        ({"id": [0, 1, 2, 3, 4]}, "id: .*4"),
        ({"id": 0, "whatever": 1}, "whatever: "),
        ({"id": b"5"}, "id: only photo may be a file"),
        ({"photo": "text"}, "photo: only photo may be a file"),
        ({"id": 0, "descriptor": "none"}, "no such descriptor"),
    ],
)
def test_wrong_fields_are_named(client, values, said):
    answer = search(client, **values)
    assert re.search(said, problem(answer, answer.status_code))
    assert answer.status_code in (400, 422) and len(answer.text) < 2000


@pytest.mark.parametrize(
    "query, said",
    [
        ("start=-1", "start: "),
        ("start=x", "start: .*integer"),
        ("limit=0", "limit: "),
        ("limit=1001", "limit: .*1000"),
        ("start=0&start=1", "start: may be given only once"),
        ("page=2", "page: "),
        (f"file={'x' * 4097}", "file: .*4096"),
        ("descriptor=none", "no such descriptor"),
    ],
)
def test_wrong_parameters_are_named(client, query, said):
    assert re.search(said, problem(client.get(f"/api/v1/photos?{query}"), 422))


@pytest.mark.parametrize("values", [{"id": 0}, {"id": [0, 1, 2]}, {}])
def test_match_takes_two_photos(client, values):
    answer = client.post("/api/v1/match", files=fields(**values) or fields(descriptor="x"))
    assert "two photos" in problem(answer, 422)


def test_the_sentences_are_those_of_the_page(client):
    assert problem(search(client, photo=b"no photo"), 415) == (
        "This is not a photo in a supported format (JPEG, PNG, WebP, HEIC, AVIF)."
    )
    buffer = io.BytesIO()
    Image.new("1", (12_001, 20)).save(buffer, "PNG")
    assert "12001 x 20 pixels" in problem(search(client, photo=buffer.getvalue()), 413)
    assert "no such photo" in problem(search(client, id=12), 404)


def test_bodies_that_are_no_forms(client):
    path = "/api/v1/search"
    assert "multipart" in problem(client.post(path, json={"id": 1}), 415)
    assert "multipart" in problem(client.post(path, content=b"id=1"), 415)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert "cannot be read" in problem(client.post(path, content=b"--y", headers=broken), 400)
    without = {"content-type": "multipart/form-data"}
    assert "cannot be read" in problem(client.post(path, content=b"x", headers=without), 400)
    many = fields(id=[1] * 41)
    assert "cannot be read" in problem(client.post(path, files=many), 400)
    photos = fields(photo=[b"x"] * 5)
    assert "cannot be read" in problem(client.post(path, files=photos), 400)
    big = fields(photo=bytes(settings().upload_bytes + 1))
    assert "at most 12 MB" in problem(client.post(path, files=big), 413)


@pytest.mark.parametrize("charset", ["utf-7", "UTF-16", "nothing"])
def test_names_in_another_charset_are_refused(client, charset):
    """`+2AA-` is a lone surrogate in UTF-7, which no answer can name."""
    file = 'Content-Disposition: form-data; name="+2AA-"; filename="a"'
    body = f"--x\r\n{file}\r\n\r\nx\r\n--x--\r\n".encode()
    kind = "multipart/form-data; boundary=x"
    headers = {"content-type": f"{kind}; charset={charset}"}
    answer = client.post("/api/v1/search", content=body, headers=headers)
    assert "UTF-8" in problem(answer, 415)
    for same in (
        kind,
        f'{kind}; charset="UTF-8"',
        f"Multipart/Form-Data ;charset=utf-8; {kind[21:]}",
    ):
        answer = client.post("/api/v1/search", content=body, headers={"content-type": same})
        assert problem(answer, 422) == "+2AA-: only photo may be a file"


@pytest.fixture
def whole(served):
    """All routes with Streamlit's own after them: its page is at every other address."""
    page = Mount("/", PlainTextResponse("the page"))
    routes = at_base_path([*PHOTO_ROUTES, *ROUTES], at_root=HEALTH)
    return TestClient(Starlette(routes=[*routes, page]))


@pytest.mark.parametrize(
    "path",
    "/api /api/ /api/v1/nothing /api/v2/search /api/v1/search/ /api/v1/photos/1/nothing /photos "
    "/photos/ /photos/none/0/thumbnail.jpg /photos/none/0/title.txt /photos/a/b/c/d /maps/none.bin "
    "/maps/x /x/api/v1/search /x/readyz /x/y/healthz".split(),
)
def test_an_unknown_address_is_a_problem_and_not_the_page(whole, path):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        if path.startswith(("/photos/none", "/maps/none")) and method != "GET":
            continue  # the address exists for GET alone
        problem(whole.request(method, path, follow_redirects=False), 404)
    assert whole.get("/any/other").text == "the page"


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", "/api/v1/search", {"POST"}),
        ("DELETE", "/api/v1/match", {"POST"}),
        ("POST", "/api/v1", {"GET", "HEAD"}),
        ("OPTIONS", "/api/v1/photos/0/thumbnail", {"GET", "HEAD"}),
        ("PUT", "/photos/any/0/view.jpg", {"GET", "HEAD"}),
        ("POST", "/maps/any.bin", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_a_problem_that_names_the_right_ones(whole, method, path, allowed):
    answer = whole.request(method, path)
    assert "not allowed" in problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_nothing_is_told_of_an_error_of_ours(client, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(endpoints.searches, "prepare", fails)
    assert problem(search(client, id=0), 500) == (
        "Internal error. The log of the server has the details."
    )
    assert "/secret/path" in caplog.text


def test_without_a_gallery(tmp_path, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "none"))
    client = TestClient(Starlette(routes=ROUTES))
    answer = search(client, id=0)
    assert "cannot be opened" in problem(answer, 503) and answer.headers["retry-after"] == "10"
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert "not ready" in problem(ready, 503) and str(tmp_path) not in ready.text


# -- turns -----------------------------------------------------------------------------------------


@pytest.fixture
def one_worker(monkeypatch, request):
    """Turns of one worker and one that waits, or as many as asked for, each visitor's one only.

    The worker is at work until `set`.
    """
    waiting = getattr(request, "param", 1)
    admission, begun, may_end = Admission(1, waiting, 1), threading.Event(), threading.Event()
    monkeypatch.setattr(turns, "admission", lambda: admission)

    def work():
        begun.set()
        assert may_end.wait(PATIENCE)

    admission.submit("somebody", work)
    assert begun.wait(PATIENCE)
    yield admission, may_end
    may_end.set()
    admission.close()


def test_busy_is_503_with_a_time_and_the_client_comes_back(client, one_worker, monkeypatch):
    admission, may_end = one_worker
    waiting = admission.submit("next", lambda: None)
    answer = search(client, id=0)
    assert problem(answer, 503) == "Busy, try again in 1 second."
    assert answer.headers["retry-after"] == "1" and answer.json()["retry_after"] == 1
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        may_end.set()
        assert waiting.wait(PATIENCE)

    monkeypatch.setattr(same_thing.time, "sleep", sleep)
    hits = SameThing("http://testserver", client=client, retries=1).search(0)["hits"]
    assert slept == [1] and len(hits) == 11
    with pytest.raises(Problem, match="no such photo") as error:
        SameThing("http://testserver", client=client).search(99)
    assert error.value.status == 404 and slept == [1], "what will not help is not tried again"


@pytest.mark.parametrize("one_worker", [10], indirect=True)
def test_a_share_of_ones_own_is_429(client, one_worker, monkeypatch):
    admission, _ = one_worker
    admission.submit("9.9.9.9", lambda: None)
    assert problem(search(client, id=0), 429).startswith("Busy, try again in")
    monkeypatch.setenv("GEM_SEARCHES_PER_MINUTE", "1")
    for _ in range(4):
        search(client, id=0)
    answer = search(client, id=0)
    assert "Too many requests" in problem(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    monkeypatch.setattr(Settings, "requests_per_minute_address", 1)
    monkeypatch.setenv("GEM_SEARCHES_PER_MINUTE", "2")  # other settings, new counts
    client.get("/api/v1/photos/0")
    assert "Too many requests" in problem(client.get("/api/v1/photos/0"), 429)
    assert client.get("/healthz").status_code == 200, "operators may always ask"


def test_a_caller_who_has_gone_gives_the_place_up_and_nothing_else_waits(served, one_worker):
    admission, _ = one_worker
    app = Starlette(routes=ROUTES)

    async def scenario():
        body = httpx.Request("POST", "http://t/", files=fields(id=0))
        messages: asyncio.Queue = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body.read()})
        scope = {"type": "http", "method": "POST", "path": "/api/v1/search", "query_string": b""}
        scope["headers"] = [(b"content-type", body.headers["content-type"].encode())]
        scope["client"] = ("9.9.9.9", 1)

        async def send(_):
            pass

        call = asyncio.create_task(app(scope, messages.get, send))
        while not admission.waiting:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://t"
        ) as other:  # while the engine is busy
            assert (await other.get("/healthz")).json() == {"status": "ok"}
            assert (await other.get("/readyz")).status_code == 200
            assert (await other.get("/api/v1/photos/0/thumbnail")).status_code == 200
            assert b"gem_queue_length" in (await other.get("/metrics")).content
        messages.put_nowait({"type": "http.disconnect"})
        await call
        assert admission.waiting == 0

    asyncio.run(scenario())


def test_an_answer_that_would_come_too_late_is_none(client, one_worker, monkeypatch):
    monkeypatch.setattr(Settings, "search_seconds", 1)
    answer = search(client, id=0)
    assert problem(answer, 503).startswith("Busy") and "retry-after" in answer.headers
    assert one_worker[0].waiting == 0


# -- operators -------------------------------------------------------------------------------------


def test_ready_is_a_gallery_that_finds_itself(client, served, monkeypatch):
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "galleries": [
            {"model": served.name, "generation": served.engine.store.version, "photos": 12}
        ],
    }
    monkeypatch.setattr("serving.galleries.readiness.candidate_ids", lambda *_: np.array([5, 7]))
    assert "not ready" in problem(client.get("/readyz"), 503)


def test_metrics_count_and_time(client, server):
    def value(name, **labels):
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    client = TestClient(Starlette(routes=ROUTES), client=("127.0.0.1", 1))
    searched, staged = value("gem_searches_total", by="api"), value("gem_stage_seconds_count")
    waited = value("gem_queue_wait_seconds_count")
    server.search(photo_bytes("dune.jpg"))
    assert value("gem_searches_total", by="api") == searched + 1
    assert value("gem_stage_seconds_count") == staged + 8, "eight stages"
    assert value("gem_queue_wait_seconds_count") == waited + 1
    assert value("process_resident_memory_bytes") > 10**8


@pytest.mark.parametrize(
    "peer, headers, status",
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("9.9.9.9", {}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "9.9.9.9"}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
    ],
)
def test_metrics_are_for_operators(peer, headers, status):
    client = TestClient(Starlette(routes=ROUTES), client=(peer, 1))
    assert client.get("/metrics", headers=headers).status_code == status


# -- description -----------------------------------------------------------------------------------


def test_the_document_is_valid_and_describes_every_route(client):
    found = client.get("/api/v1/openapi.json").json()
    validate(found)
    assert found == json.loads(json.dumps(document()))
    described = {(path, m.upper()) for path, methods in found["paths"].items() for m in methods}
    routed = {(one.path, method) for one in router.routes for method in one.methods - {"HEAD"}}
    assert described == routed and len(routed) == 7


def test_answers_are_as_described(client, served):
    schemas = document()["components"]
    answers = {
        "SearchAnswer": search(client, photo=photo_bytes("taj-mahal.jpg")),
        "MatchAnswer": client.post("/api/v1/match", files=fields(id=[0, 1])),
        "PhotoAnswer": client.get("/api/v1/photos/0"),
        "PhotosAnswer": client.get("/api/v1/photos?limit=5"),
        "ThingsAnswer": client.get("/api/v1/things"),
        "ThingAnswer": client.get("/api/v1/things/0"),
        "Problem": client.get("/api/v1/photos/99"),
    }
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": schemas}
        Draft202012Validator(schema).validate(answer.json())
        known = set(schemas["schemas"][name]["properties"])
        assert set(answer.json()) <= known, name


def test_the_page_that_shows_it_needs_nothing_from_elsewhere(client):
    answer = client.get("/api/v1")
    assert answer.headers["content-type"].startswith("text/html")
    for operation in router.routes:
        assert operation.path in answer.text and operation.summary in answer.text
    for name in ("rerank", "homography", "stage_ranks", "retry_after", "limit", "total"):
        assert name in answer.text
    for outside in ("<script", "src=", "@import", "url(", "http://", "https://", "<link"):
        assert outside not in answer.text


def test_hits_and_photos_say_whom_they_are_by(client, served, monkeypatch):
    store, file = served.engine.store, "colosseum-2.jpg"
    link = "https://museum.example/canvas/2"
    said = Credit("", "A. Smith", "CC BY 4.0", link, {"Date": "1900"})
    monkeypatch.setattr(store, "about", About(photos={key(file): said}))
    expected = {
        "credit": "A. Smith",
        "licence": "CC BY 4.0",
        "link": link,
        "more": {"Date": "1900"},
    }
    (photo,) = client.get(f"/api/v1/photos?file={file}").json()["photos"]
    files = {"photo": photo_bytes("colosseum.jpg")}
    hits = client.post("/api/v1/search", files=files).json()["hits"]
    (hit,) = (hit for hit in hits if hit["file"] == file)
    assert expected.items() <= photo.items() and expected.items() <= hit.items()
    assert next(hit for hit in hits if hit["file"] == "wine.jpg")["credit"] == ""
