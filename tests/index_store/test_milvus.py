"""A store's descriptors in a Milvus server: a real one, and what is said when there is none."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from api.routes import ROUTES
from index_store import (
    IndexUnavailable,
    Store,
    StoreCorrupt,
    StoreError,
    compact,
    push,
    remove,
    update,
    use_own_index,
)
from index_store.__main__ import main
from index_store.ann.faiss_index import FaissIndex
from index_store.ann.nearest import exact_search, rescore
from index_store.ann.presets import choose_parameters
from index_store.ann.remote.collection import TOKEN, Collection
from index_store.ann.remote.milvus import MilvusIndex, connect
from index_store.global_artifacts import Derived
from index_store.storage.manifest import Manifest
from index_store.storage.publish import content_of, locked, publish
from search import Engine
from serving.galleries.galleries import Galleries, galleries
from serving.galleries.gallery import NoGallery
from serving.galleries.remote_index import SENTENCE
from tests.conftest import PATIENCE, ROOT, unit_rows
from tests.support.milvus_server import Running, running

COLLECTION = {
    "address": "http://127.0.0.1:19530",
    "name": "gem_00000001_000001",
    "generation": "000001",
    "content": "0" * 16,
}
SECRET = "nobody:knows-this"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(scope="module")
def pushed(server, small_built, tmp_path_factory) -> Path:
    """The small store, pushed. Copy it before changing it."""
    path = tmp_path_factory.mktemp("pushed") / "store"
    shutil.copytree(small_built / "store", path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, SECRET)
        push(path, server.address)
    return path


@pytest.fixture
def store(small_built, tmp_path) -> Path:
    """The small store, to be changed at will."""
    shutil.copytree(small_built / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def copy(pushed, tmp_path) -> Path:
    """The pushed store, to be changed at will."""
    shutil.copytree(pushed, tmp_path / "copy")
    return tmp_path / "copy"


def manifest_of(path: Path) -> Manifest:
    with Store(path, embedded=True) as store:
        return store.manifest


def name_collection(path: Path, **other: str) -> Collection:
    """Let a store's manifest name a collection without any push."""
    with locked(path), Store(path, embedded=True) as live:
        collection = Collection(**(COLLECTION | {"content": live.manifest.content} | other))
        publish(path, content_of(live), live.rows, lambda _: Derived.of(live), collection)
        return collection


def collections(server: Running) -> set[str]:
    """Names of all that a server holds."""
    return set(connect(server.address).list_collections())


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# -- with a server ---------------------------------------------------------------------------------


def test_it_is_an_index_like_the_embedded_one(server, rng):
    rows = unit_rows(rng, 5_000, 64, 100)
    rows, queries = rows[:4_950], rows[4_950:]
    index = MilvusIndex(server.address, "gem_protocol_1", 64)
    index.create("for a test")
    index.train(rows)
    index.add(rows[:3_000])
    index.add(rows[3_000:])
    assert index.seal() == 4_950  # all of them in codes: the index was really built

    # The server says of each vector that it is indexed, and how.
    told = index._client.describe_index(index.name, "descriptor")
    assert told["index_type"] == "IVF_PQ" and told["indexed_rows"] == 4_950
    embedded = FaissIndex(64, choose_parameters(4_950, 64))
    embedded.train(rows)
    embedded.add(rows)
    same = ("vectors", "removed", "dim", "lists", "code_bytes")
    assert all(getattr(index.stats(), n) == getattr(embedded.stats(), n) for n in same)

    exact, _ = exact_search(rows, queries, 10)
    recall = {}
    for name, one in (("milvus", index), ("faiss", embedded)):
        one.effort = 32
        distances, ids = one.search(queries, 500)
        assert distances.shape == ids.shape == (50, 500)
        assert np.all(np.diff(distances, axis=1) >= 0)
        recall[name, "rough"] = np.mean([np.isin(*pair).mean() for pair in zip(exact, ids[:, :10])])
        best, _ = rescore(rows, queries, ids, 10)
        recall[name, "rescored"] = np.mean([np.isin(*pair).mean() for pair in zip(exact, best)])
    assert recall["milvus", "rescored"] > 0.98
    # Codes are rough; an index that compared the vectors themselves would find nearly all.
    assert 0.2 < recall["milvus", "rough"] < 0.95
    assert abs(recall["milvus", "rough"] - recall["faiss", "rough"]) < 0.15

    # With less effort it visits fewer of its lists, and finds fewer vectors.
    index.effort = 2
    few = (index.search(queries, 500)[1] >= 0).sum(1)
    assert few.max() < 500 and few.min() > 0

    index.effort = 64
    distances, ids = index.search(queries[:1], 5_000)  # more than there are
    assert (ids[0] >= 0).sum() <= 4_950 and ids[0, -1] == -1 and np.isinf(distances[0, -1])
    index.drop()


def test_a_pushed_store_answers_as_it_did(server, pushed, small_built, extractor, capsys):
    manifest = manifest_of(pushed)
    collection = manifest.searched_in
    assert collection.address == server.address and collection.generation == "000001"
    text = (pushed / "generations" / "000002" / "manifest.json").read_text()
    assert json.loads(text)["collection"]["name"] == collection.name
    assert not any(part in text for part in (SECRET, *SECRET.split(":")))
    before = Engine(Store(small_built / "store", extractor), extractor)
    after = Engine(Store(pushed, extractor), extractor)
    assert isinstance(after.store.index.index, MilvusIndex) and after.store.index.ntotal == 12
    for id in (0, 5, 11):
        for rerank, verify in ((None, None), ("diffusion", "sift")):
            expected, found = (
                engine.search(engine.prepare(id), rerank, verify, k=12).hits
                for engine in (before, after)
            )
            for hit, known in zip(found, expected, strict=True):
                assert (hit.file, hit.inliers) == (known.file, known.inliers)
                # Candidates come in another order, and sums of floats depend on it.
                assert hit.score == pytest.approx(known.score, abs=1e-5)
            assert len(found) == 11
    assert main(["info", "--store", str(pushed)]) == 0
    assert f"searched in  collection {collection.name} at {server.address}\n" in (
        capsys.readouterr().out
    )


def test_another_generation_is_searched_with_its_own_index_until_it_is_pushed(
    server, copy, small_built, extractor, capsys
):
    def searched_there() -> bool:
        with Store(copy, extractor) as store:
            assert store.index.ntotal == len(store)
            return isinstance(store.index.index, MilvusIndex)

    first = manifest_of(copy).searched_in
    # The same photos: an update that finds nothing new, and segments that are joined.
    os.utime(small_built / "photos" / "wine.jpg")
    update(copy, extractor)
    assert manifest_of(copy).searched_in == first and searched_there()
    remove(["igloo.jpg"], copy)
    assert manifest_of(copy).searched_in is None and not searched_there()
    assert manifest_of(copy).collection == first
    compact(copy)
    assert manifest_of(copy).searched_in is None and not searched_there()
    assert main(["info", "--store", str(copy)]) == 0
    assert f"its own index; collection {first.name} at {server.address}" in capsys.readouterr().out

    # What a push left that was killed is dropped by the next one; other people's is not.
    family = first.family
    strays = [f"{family}_000099", f"{family}_mine", "gem_ffffffff_000099"]
    for stray in strays:
        MilvusIndex(server.address, stray, 64).create("a stray")
    assert main(["push", "--store", str(copy), "--to", server.address]) == 0
    second = manifest_of(copy).searched_in
    assert second.name.startswith(f"{family}_") and second.name != first.name
    assert searched_there()
    said = capsys.readouterr().out
    assert f"11 photos in collection {second.name} at {server.address}, 0 of them" in said
    assert "Segments of fewer than 1024 photos are not indexed" in said  # not claimed, either
    assert f"dropped: {strays[0]}, of an earlier push\n" in said and said.count("dropped") == 1
    there = collections(server)
    # Pages that still have the generation before go on in its collection.
    assert {first.name, second.name, *strays[1:]} <= there and strays[0] not in there

    assert main(["push", "--store", str(copy), "--to", "here"]) == 0
    assert capsys.readouterr().out == f"{copy} is searched with its own index.\n"
    assert not searched_there() and manifest_of(copy).collection.name == second.name


def test_a_push_that_fails_leaves_nothing(server, store, monkeypatch):
    def fails(index: MilvusIndex) -> int:
        raise index._wrong("cannot be indexed: failed at 0 vectors")

    before = manifest_of(store), collections(server)
    monkeypatch.setattr(MilvusIndex, "seal", fails)
    with pytest.raises(IndexUnavailable, match="cannot be indexed"):
        push(store, server.address)
    assert (manifest_of(store), collections(server)) == before


def test_visitors_are_told_when_the_server_falls_silent(server, pushed, extractor, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(pushed))
    monkeypatch.setattr("serving.galleries.galleries.extractor_of", lambda *_: extractor)
    monkeypatch.setattr("index_store.ann.remote.milvus.ANSWER_S", 1.0)
    galleries().wait_until_open()
    client = TestClient(Starlette(routes=ROUTES), client=("9.9.9.9", 1))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)

    def search(id: int):
        return client.post("/api/v1/search", files={"id": (None, str(id))})

    assert len(search(0).json()["hits"]) == 11
    with server.silent():
        answer = search(1)
        assert (answer.status_code, answer.json()["detail"]) == (503, SENTENCE)
        assert answer.headers["retry-after"] == "10"
        app.query_params["photo"] = "wine.jpg"
        app.run()
        assert not app.exception and [box.value for box in app.warning] == [SENTENCE]
        assert len(search(0).json()["hits"]) == 11  # what is known needs no index
        with pytest.raises(IndexUnavailable, match="does not answer"):
            Store(pushed, extractor)
    assert len(search(1).json()["hits"]) == 11
    [again] = [button for button in app.button if button.label == "Try again"]
    again.click().run()
    assert not app.exception and not app.warning


def test_a_collection_that_is_not_the_generations_is_refused(server, copy, extractor):
    collection = manifest_of(copy).searched_in
    assert isinstance(Store(copy, extractor).index.index, MilvusIndex)
    other = name_collection(copy, address=server.address, name="gem_ffffffff_000001")
    with pytest.raises(
        IndexUnavailable, match="gem_ffffffff_000001 at .* is gone. Push the store again"
    ):
        Store(copy, extractor)
    MilvusIndex(server.address, other.name, 2048).create("generation 000001, content of others")
    with pytest.raises(IndexUnavailable, match="is of another generation"):
        Store(copy, extractor)
    MilvusIndex(server.address, other.name, 2048).create(other.description)
    with pytest.raises(IndexUnavailable, match="index"):
        Store(copy, extractor)

    # Somebody deletes a row of what was pushed. (No test after this one searches there.)
    name_collection(copy, **dataclasses.asdict(collection))
    client = connect(collection.address)
    client.delete(collection.name, ids=[3])
    (held,) = client.query(collection.name, output_fields=["count(*)"], consistency_level="Strong")
    assert held["count(*)"] == 11
    with pytest.raises(IndexUnavailable, match="holds 11 vectors, the store 12 photos"):
        Store(copy, extractor)


# -- without a server ------------------------------------------------------------------------------


def test_without_the_server_nothing_is_searched_and_all_else_works(
    store, extractor, monkeypatch, capsys
):
    address = nobody()
    monkeypatch.setattr("index_store.ann.remote.milvus.ANSWER_S", 0.5)
    before = manifest_of(store)
    assert main(["push", "--store", str(store), "--to", address]) == 1
    said = capsys.readouterr().err
    assert f"error: The Milvus server at {address} does not answer" in said
    assert "Traceback" not in said and manifest_of(store) == before

    name_collection(store, address=address)
    with pytest.raises(IndexUnavailable, match=f"server at {address}"):
        Store(store, extractor)
    monkeypatch.setenv("GEM_STORE", str(store))
    monkeypatch.setattr("serving.galleries.galleries.extractor_of", lambda *_: extractor)
    with pytest.raises(NoGallery, match="cannot be opened at the moment"):
        Galleries().first()
    # Whoever changes a store needs no server.
    remove(["igloo.jpg"], store)
    with Store(store, extractor) as opened:
        assert isinstance(opened.index.index, FaissIndex) and len(opened) == 11


def test_a_store_comes_back_from_a_server_that_is_gone_for_good(store, extractor):
    name_collection(store, address=nobody())
    use_own_index(store)
    with Store(store, extractor) as opened:
        assert isinstance(opened.index.index, FaissIndex)
    kept = manifest_of(store)
    use_own_index(store)
    assert manifest_of(store) == kept


@pytest.mark.parametrize(
    "address",
    [
        "http://root:knows-this@host:19530",
        "host:19530",
        "./local.db",
        "http://host/x",
        "http://a b",
    ],
)
def test_an_address_is_an_address_and_keeps_no_secrets(store, address, capsys):
    assert main(["push", "--store", str(store), "--to", address]) == 1
    said = capsys.readouterr().err
    assert "looks like http://localhost:19530" in said and TOKEN in said
    assert "knows-this" not in said
    facts = json.loads(manifest_of(store).to_json())
    facts["collection"] = COLLECTION | {"address": address}
    with pytest.raises(StoreCorrupt, match="manifest.json is damaged"):
        Manifest.from_json(json.dumps(facts))


@pytest.mark.parametrize(
    "value", [{}, [], "x", COLLECTION | {"address": 1}, COLLECTION | {"name": "others_1"}]
)
def test_a_manifest_with_half_a_collection_is_damaged(store, value):
    facts = json.loads(manifest_of(store).to_json())
    del facts["collection"]  # as manifests were before there was any
    assert Manifest.from_json(json.dumps(facts)).collection is None
    assert Manifest.from_json(json.dumps(facts | {"collection": COLLECTION})).searched_in is None
    with pytest.raises(StoreCorrupt, match="manifest.json is damaged"):
        Manifest.from_json(json.dumps(facts | {"collection": value}))


def test_the_token_comes_from_the_environment(monkeypatch):
    asked = {}
    monkeypatch.setattr("pymilvus.MilvusClient", lambda **given: asked.update(given))
    connect("https://host:443")
    assert (asked["uri"], asked["token"]) == ("https://host:443", "")
    monkeypatch.setenv(TOKEN, SECRET)
    connect("https://host:443")
    assert asked["token"] == SECRET


def test_without_the_client_a_line_says_what_to_install(store, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    assert main(["push", "--store", str(store), "--to", nobody()]) == 1
    assert "pip install -r requirements-milvus.txt" in capsys.readouterr().err
    name_collection(store)
    with pytest.raises(StoreError, match="pip install -r requirements-milvus.txt"):
        Store(store)


def test_nothing_else_imports_the_client(store):
    program = (
        "import sys; import index_store.__main__, search, serving.galleries.galleries; "
        f"index_store.Store({str(store)!r}); "
        "sys.exit(any(name.split('.')[0] in ('pymilvus', 'grpc') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
