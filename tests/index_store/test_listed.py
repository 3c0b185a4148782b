"""Lists and IIIF manifests of photos, fetched from a server of this machine."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import socket
from contextlib import suppress

import httpx
import pytest

from index_store import (
    BadList,
    NothingToIndex,
    Store,
    TooMuchGone,
    build,
    compact,
    remove,
    update,
)
from index_store.__main__ import main
from index_store.about import MAX_CREDIT
from index_store.confirmation import Confirmation
from index_store.sources.collected.collected import Collected
from index_store.sources.collected.fetch import Guarded, NotFetched, Web, public_address
from index_store.sources.collected.iiif import text_of
from index_store.sources.collected.listed import name_for
from tests.conftest import GALLERY, QuickExtractor
from tests.support.photo_server import photo_server

PETRA, DUNE = ((GALLERY / name).read_bytes() for name in ("petra.jpg", "dune.jpg"))


@pytest.fixture
def server():
    with photo_server() as served:
        yield served


@pytest.fixture
def waits():
    return []


@pytest.fixture
def web(waits):
    fetching = Web(private=True, pause=0, sleep=waits.append)
    yield fetching
    fetching.close()


@pytest.fixture
def listed(tmp_path, web):
    """Builds or updates the store of a list; the list's folder is `tmp_path`."""
    quick = QuickExtractor()

    def run(text=None, change=None, **options):
        if text is not None:
            (tmp_path / "list.csv").write_text(text)
        if change is not None:
            change(tmp_path / "s", quick, web=web, **options)
        else:
            build([], tmp_path / "s", quick, lists=[tmp_path / "list.csv"], web=web, **options)
        return Store(tmp_path / "s")

    return run


def files(store):
    return [photo.file for photo in store.catalogue.photos()]


def left_out(store):
    return {entry.file: entry.reason for entry in store.catalogue.skipped()}


def test_a_list_of_paths_and_addresses(listed, server, tmp_path):
    (tmp_path / "sub").mkdir()
    shutil.copy(GALLERY / "wine.jpg", tmp_path / "sub")
    shutil.copy(GALLERY / "bulb.jpg", tmp_path)  # not listed
    url = server.put("/img/Petra%20(1).jpg?size=2", PETRA)
    store = listed(
        "ID;Title;URL;Path;Credit;Licence;Link;Year\n"
        f"p/1;Rock;{url};;Ann;CC0;https://example.org/1;1907\n"
        ";A glass;;./sub/wine.jpg;;;;\n"
        ";gone;;sub/none.jpg;;;;\n"
    )
    fetched = f"{name_for(url, 'p/1')}.jpg"
    assert fetched.startswith("p-1-") and files(store) == [fetched, "sub/wine.jpg"]
    said = store.about.of(fetched)
    assert (said.title, said.credit, said.licence) == ("Rock", "Ann", "CC0")
    assert said.link == "https://example.org/1" and said.more == {"ID": "p/1", "Year": "1907"}
    assert store.about.title("sub/wine.jpg", "") == "A glass"
    assert left_out(store) == {"sub/none.jpg": "There is no such file. `update` tries again."}
    assert store.pixels(0).ndim == store.pixels(1).ndim == 3
    assert server.paths() == ["/img/Petra%20(1).jpg?size=2"]
    listed(change=update)
    assert server.paths() == [], "an address is fetched once"


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "/etc/passwd", "sub/../../secret.jpg", "link.jpg", ".hidden.jpg", "."]
)
def test_no_path_of_a_list_leads_out_of_its_folder(listed, tmp_path, path):
    base = tmp_path / "in"
    base.mkdir()
    shutil.copy(GALLERY / "petra.jpg", tmp_path / "secret.jpg")
    for name in ("ok.jpg", ".hidden.jpg"):
        shutil.copy(GALLERY / "wine.jpg", base / name)
    (base / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (base / "list.csv").write_text(f"path\nok.jpg\n{path}\n")
    build([], tmp_path / "s", QuickExtractor(), lists=[base / "list.csv"])
    with Store(tmp_path / "s") as store:
        assert files(store) == ["ok.jpg"] and len(left_out(store)) == 1


def test_a_path_is_found_in_the_other_unicode_form(listed, tmp_path):
    shutil.copy(GALLERY / "wine.jpg", tmp_path / "cafe\u0301.jpg")
    store = listed("path,title\ncaf\xe9.jpg,A glass\n")
    assert store.about.title(*files(store), "") == "A glass" and not left_out(store)


def test_names_of_the_web_fit_any_disk(listed, server, tmp_path, monkeypatch):
    long = server.put("/" + "%F0%A0%80%80" * 100 + ".jpg", PETRA)
    (file,) = files(listed(f"url\n{long}\n"))
    assert file == f"{chr(0x20000) * 50}-{hashlib.sha256(long.encode()).hexdigest()[:10]}.jpg"

    def refuse(collected, item, *arguments):
        if item.urls != (long,):
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return fetch(collected, item, *arguments)

    fetch = Collected._fetch
    monkeypatch.setattr(Collected, "_fetch", refuse)
    store = listed(f"url\n{long}\n{server.put('/b.jpg', DUNE)}\n", change=update)
    assert files(store) == [file] and "too long for this disk" in str(left_out(store))


def test_photos_of_two_lists_with_one_name_are_both_there(tmp_path):
    for name, photo in (("a", PETRA), ("b", DUNE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(photo)
        (tmp_path / name / "list.csv").write_text(f"path,title\nx.jpg,{name}\n")
    lists = [tmp_path / name / "list.csv" for name in "aba"]
    build([], tmp_path / "s", QuickExtractor(), lists=lists)
    of_path = hashlib.sha256(str(tmp_path / "b" / "x.jpg").encode()).hexdigest()[:10]
    with Store(tmp_path / "s") as store:
        assert {file: store.about.of(file).title for file in files(store)} == {
            "x.jpg": "a",
            f"x-{of_path}.jpg": "b",
        }
        assert not left_out(store)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("title\nx\n", "neither a column"),
        ("path,title\nwine.jpg,a\n,T\n", "line 3 names neither"),
        ("path\n\n\x00", "NUL"),
    ],
)
def test_a_list_that_cannot_be_read_changes_nothing(listed, tmp_path, text, reason):
    shutil.copy(GALLERY / "wine.jpg", tmp_path)
    version = listed("path\nwine.jpg\n").version
    with pytest.raises(BadList, match=reason):
        listed(text, change=update)
    assert Store(tmp_path / "s").version == version


def test_what_failed_is_listed_with_its_reason_and_tried_again(listed, server, waits, web):
    good = server.put("/good.jpg", PETRA)
    server.answers["/page"] = 200, {"Content-Type": "text/html"}, b"<html>"
    server.answers["/large.jpg"] = 200, {"Content-Type": "image/jpeg"}, b"x" * (65 * 2**20)
    server.answers["/busy.jpg"] = lambda number: (503, {"Retry-After": "3"}, b"")
    server.answers["/round.jpg"] = 302, {"Location": "/round.jpg"}, b""
    server.answers["/file.jpg"] = 302, {"Location": "file:///etc/passwd"}, b""
    server.answers["/late.jpg"] = 429, {"Retry-After": "100000"}, b""
    names = ["gone.jpg", "page", "large.jpg", "busy.jpg", "round.jpg", "file.jpg", "late.jpg"]
    urls = [f"{server.url}/{name}" for name in names] + ["ftp://example.org/x.jpg", "http://[x/"]
    store = listed("url\n" + "\n".join([good, *urls]))
    reasons = left_out(store)
    expected = {
        "gone.jpg": "answers 404",
        "page": "text/html",
        "large.jpg": "more than 64 MB",
        "busy.jpg": "answers 503",
        "round.jpg": "cannot be fetched",
        "file.jpg": "http and https",
        "late.jpg": "answers 429",
    }
    for name, reason in expected.items():
        assert reason in reasons[name_for(f"{server.url}/{name}")], name
    assert len(reasons) == len(urls) and len(store) == 1
    assert sum(path == "/busy.jpg" for path in server.paths()) == 4
    # Three tries more, the next address of that server, and a server that there is not.
    assert [round(wait) for wait in waits if wait > 0.5] == [3, 3, 4, 3, 1, 2, 4]
    web._next.clear()  # as in another run
    server.put("/busy.jpg", DUNE)
    assert len(listed(change=update)) == 2
    assert "/good.jpg" not in server.paths()


def test_a_killed_build_fetches_nothing_twice(listed, server, tmp_path):
    urls = [server.put(f"/{number}.jpg", PETRA + bytes([number])) for number in range(5)]

    class Stopping(Web):
        def get(self, url, *arguments):
            if url == urls[3]:
                raise KeyboardInterrupt
            return super().get(url, *arguments)

    (tmp_path / "list.csv").write_text("url\n" + "\n".join(urls))
    stopping = Stopping(private=True, pause=0)
    with pytest.raises(KeyboardInterrupt):
        build([], tmp_path / "s", QuickExtractor(), lists=[tmp_path / "list.csv"], web=stopping)
    stopping.close()
    assert server.paths() == ["/0.jpg", "/1.jpg", "/2.jpg"]
    assert len(listed()) == 5 and server.paths() == ["/3.jpg", "/4.jpg"]


def test_photos_are_asked_about_only_for_a_recheck(listed, server):
    url = server.put("/a.jpg", PETRA)
    before = listed(f"url\n{url}\n")
    server.paths()
    same = listed(change=update, recheck=True)
    assert "if-none-match" in server.asked[0][1] and same.generation == before.generation
    server.put("/a.jpg", DUNE)
    after = listed(change=update, recheck=True)
    assert after.catalogue.photo(0).sha256 != before.catalogue.photo(0).sha256
    server.answers.clear()
    kept = listed(change=update, recheck=True)
    assert len(kept) == 1 and "previous version is used" in str(left_out(kept))


def test_a_photo_that_is_not_listed_any_more_goes_and_comes_back(listed, server, tmp_path):
    urls = [server.put(f"/{number}.jpg", PETRA + bytes([number])) for number in range(4)]
    listed("url\n" + "\n".join(urls))
    server.paths()
    with pytest.raises(TooMuchGone, match="3 of 4"):
        listed(
            f"url\n{urls[0]}\n", change=update, confirm=Confirmation(yes=False, interactive=False)
        )
    assert len(listed(change=update)) == 1
    assert len(listed("url\n" + "\n".join(urls), change=update)) == 4 and server.paths() == []
    listed("url\n" + "\n".join(urls[:2]), change=update)
    compact(tmp_path / "s")
    names = [name for name in os.listdir(tmp_path / "s" / "collected") if "jpg" in name]
    assert len(names) == 2


def test_an_update_that_is_declined_leaves_the_photos_of_the_live_store(listed, server, tmp_path):
    shutil.copy(GALLERY / "wine.jpg", tmp_path)
    urls = [server.put(f"/{number}.jpg", PETRA + bytes([number])) for number in range(3)]
    before = files(listed("path,url\nwine.jpg,\n" + "".join(f",{url}\n" for url in urls)))
    with pytest.raises(TooMuchGone):
        listed(
            f"url\n{urls[0]}\n", change=update, confirm=Confirmation(yes=False, interactive=False)
        )
    compact(tmp_path / "s")
    folder = tmp_path / "s" / "collected"
    assert all((folder / file).is_file() for file in before) and len(before) == 4
    after = files(listed(change=update))
    assert len(after) == 1 and all((folder / file).is_file() for file in before)
    compact(tmp_path / "s")
    assert sorted(name for name in os.listdir(folder) if name.endswith(".jpg")) == after


def test_a_removed_photo_is_not_fetched_again(listed, server, tmp_path):
    urls = [server.put(f"/{number}.jpg", PETRA + bytes([number])) for number in range(2)]
    (gone, _) = files(listed("url\n" + "\n".join(urls)))
    remove([gone], tmp_path / "s")
    compact(tmp_path / "s")
    server.paths()
    assert not (tmp_path / "s" / "collected" / gone).exists()
    assert len(listed(change=update, recheck=True)) == len(listed()) == 1
    asked = f"/{gone[0]}.jpg"
    assert asked not in server.paths()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "10.1.2.3", "169.254.169.254",
             "[::ffff:127.0.0.1]", "0.0.0.0", "224.0.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
             "[2001:0:7f00:1::]", "[::7f00:1]", "[::ffff:0:7f00:1]", "[fec0::1]"],
)  # fmt: skip
def test_private_addresses_are_not_asked(tmp_path, host):
    with Web(private=False, pause=0, sleep=print)._client as client:
        with pytest.raises(NotFetched, match="this machine or of a local network"):
            client.get(f"http://{host}:1/x.jpg")


def test_the_address_that_was_checked_is_the_one_that_is_asked(server, monkeypatch):
    """A name that means another address the second time, as of a server that tries to deceive."""
    port = int(server.url.rpartition(":")[2])
    asked = []

    def once(host, port, **options):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    server.put("/x.jpg", PETRA)
    monkeypatch.setattr(
        "index_store.sources.collected.fetch.public_address", lambda host, port: "127.0.0.1"
    )
    fetching = Web(pause=0)
    got = fetching.get(f"http://museum.example:{port}/x.jpg", 2**20)
    fetching.close()
    assert got.data == PETRA and server.asked[0][1]["host"] == f"museum.example:{port}"
    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", once)
    with pytest.raises(NotFetched):
        public_address("museum.example", 80)
    assert asked == ["museum.example"] and issubclass(Guarded, object)


def test_servers_are_asked_at_a_bounded_rate(server, waits):
    """By a clock that only waiting moves."""
    fetching = Web(private=True, pause=0.5, sleep=waits.append, clock=lambda: sum(waits))
    url = server.put("/x.jpg", PETRA)
    for _ in range(3):
        fetching.get(url, 2**20)
    server.answers["/x.jpg"] = 500, {}, b""
    with pytest.raises(NotFetched, match="500"):
        fetching.get(url, 2**20)
    fetching.close()
    assert [wait for wait in waits if wait] == [0.5, 0.5, 0.5, 1.0, 2.0, 4.0]


def answering(fetching, answer):
    """Fetches what a function of the request gives, instead of anything from a server."""
    fetching._client = httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)
    return fetching


def test_what_is_sent_compressed_is_refused(server, web):
    bomb = gzip.compress(gzip.compress(bytes(2**24)))
    server.answers["/x.jpg"] = 200, {"Content-Encoding": "gzip, gzip"}, bomb
    with pytest.raises(NotFetched, match=r"compressed \(gzip, gzip\)"):
        web.get(f"{server.url}/x.jpg", 2**20)
    assert server.asked[0][1]["accept-encoding"] == "identity"
    server.answers["/to.jpg"] = 302, {"Location": "/y.jpg", "Content-Encoding": "gzip"}, b"no gzip"
    server.put("/y.jpg", PETRA)
    assert web.get(f"{server.url}/to.jpg", 2**20).data == PETRA, "a redirect's body is not read"


def test_a_photo_of_the_web_has_at_most_64_mb(listed, server, monkeypatch):
    monkeypatch.setenv("GEM_PHOTO_MB", "1024")
    server.answers["/large.jpg"] = 200, {"Content-Type": "image/jpeg"}, bytes(64 * 2**20 + 1)
    store = listed(f"url\n{server.put('/a.jpg', PETRA)}\n{server.url}/large.jpg\n")
    assert "more than 64 MB" in left_out(store)[name_for(f"{server.url}/large.jpg")]


def test_a_transfer_that_trickles_ends(web):
    sent = []

    def pieces():
        for number in range(10):
            sent.append(number)
            yield b"x"

    web._clock = lambda: 50.0 * len(sent)
    answering(web, lambda request: httpx.Response(200, content=pieces()))
    with pytest.raises(NotFetched, match="longer than 120 s"):
        web.get("http://example.org/x.jpg", 2**20)
    assert sent == [0, 1, 2]


def test_a_server_that_asks_for_time_is_left_alone_for_all_its_addresses(server, waits):
    fetching = Web(private=True, pause=0, sleep=waits.append, clock=lambda: sum(waits))
    server.put("/good.jpg", PETRA)
    server.answers["/busy.jpg"] = lambda number: (
        (503, {"Retry-After": "30"}, b"") if number == 3 else (503, {}, b"")
    )
    with pytest.raises(NotFetched, match="503"):
        fetching.get(f"{server.url}/busy.jpg", 2**20)
    assert fetching.get(f"{server.url}/good.jpg", 2**20) and waits == [1.0, 2.0, 4.0, 30.0]
    server.answers["/late.jpg"] = 429, {"Retry-After": "61"}, b""
    server.paths()
    for name, reason in (("late", "answers 429"), ("good", "left alone for 61 s")):
        with pytest.raises(NotFetched, match=reason):
            fetching.get(f"{server.url}/{name}.jpg", 2**20)
    fetching.close()
    assert server.paths() == ["/late.jpg"] and sum(waits) == 37.0


def test_a_server_that_does_not_answer_is_given_up(web):
    asked = []

    def answer(request):
        asked.append(request.url.host)
        if request.url.path == "/good.jpg":
            return httpx.Response(200, content=iter([PETRA]))
        raise httpx.ConnectTimeout("late")

    answering(web, answer)
    for name in ("1", "2", "good", "3", "4", "5"):  # one that answers counts from the start again
        with suppress(NotFetched):
            web.get(f"http://a.example/{name}.jpg", 2**20)
    assert asked == ["a.example"] * 21
    with pytest.raises(NotFetched, match="3 addresses in a row"):
        web.get("http://a.example/good.jpg", 2**20)
    assert web.get("http://b.example/good.jpg", 2**20).data == PETRA
    assert len(asked) == 22


# -- IIIF ------------------------------------------------------------------------------------------


def manifest_3(server, name, photos):
    """A manifest of version 3, whose images have a service that makes them smaller."""
    base = f"{server.url}/{name}"
    items = []
    for number, (label, photo) in enumerate(photos.items()):
        service = f"{base}/image/{number}"
        server.put(f"/{name}/image/{number}/full/!1024,1024/0/default.jpg", photo)
        body = {
            "id": f"{base}/{number}-full.jpg",
            "type": "Image",
            "width": 6000,
            "height": 4000,
            "service": [{"id": service, "type": "ImageService3", "profile": "level2"}],
        }
        canvas = f"{base}/canvas/{number}"
        items.append({
            "id": canvas,
            "type": "Canvas",
            "label": {"none": [label]},
            "items": [{"type": "AnnotationPage", "items": [
                {"type": "Annotation", "motivation": "painting", "body": body, "target": canvas}
            ]}],
        })  # fmt: skip
    return {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{base}/manifest.json",
        "type": "Manifest",
        "label": {"de": ["Felsen"], "en": ["Rocks"]},
        "metadata": [{"label": {"en": ["Date"]}, "value": {"none": ["1907"]}}],
        "requiredStatement": {
            "label": {"en": ["Attribution"]},
            "value": {"en": ['<b>Museum</b> of "Rocks" &amp; Sand<script>x</script>']},
        },
        "rights": "http://creativecommons.org/publicdomain/zero/1.0/",
        "homepage": [{"id": f"{server.url}/page/{name}", "type": "Text"}],
        "items": items,
    }


def manifest_2(server, name, photos):
    """A manifest of version 2, whose images have no service."""
    base = f"{server.url}/{name}"
    canvases = [
        {
            "@id": f"{base}/canvas/{number}",
            "@type": "sc:Canvas",
            "label": label,
            "images": [
                {
                    "@type": "oa:Annotation",
                    "motivation": "sc:painting",
                    "resource": {
                        "@id": server.put(f"/{name}/{number}.jpg", photo),
                        "@type": "dctypes:Image",
                    },
                }
            ],
        }
        for number, (label, photo) in enumerate(photos.items())
    ]
    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@id": f"{base}/manifest.json",
        "@type": "sc:Manifest",
        "label": [
            {"@value": "D\xfcnen", "@language": "de"},
            {"@value": "Dunes", "@language": "en"},
        ],
        "attribution": "Library",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "related": {"@id": f"{server.url}/page/{name}"},
        "sequences": [{"@type": "sc:Sequence", "canvases": canvases}],
    }


def put_json(server, path, node):
    return server.put(path, json.dumps(node).encode(), "application/ld+json")


def built(tmp_path, web, address, change=build):
    if change is build:
        build([], tmp_path / "s", QuickExtractor(), manifests=[address], web=web)
    else:
        update(tmp_path / "s", QuickExtractor(), web=web)
    return Store(tmp_path / "s")


def test_a_manifest_of_version_3(server, web, tmp_path):
    node = manifest_3(server, "rocks", {"recto": PETRA, "verso": DUNE})
    store = built(tmp_path, web, put_json(server, "/rocks/manifest.json", node))
    assert len(store) == 2 and store.about.file.title == "Rocks"
    titles = {store.about.title(file, ""): store.about.of(file) for file in files(store)}
    said = titles["Rocks \xb7 recto"]
    assert said.credit == 'Museum of "Rocks" & Sand x'
    assert said.licence.endswith("/zero/1.0/") and said.link == f"{server.url}/page/rocks"
    assert said.more == {"Date": "1907", "Canvas": f"{server.url}/rocks/canvas/0"}
    assert not any("full.jpg" in path for path in server.paths()), "at the size that is needed"
    # Nothing is fetched again, and the manifest only if it has changed.
    built(tmp_path, web, "", update)
    assert server.paths() == ["/rocks/manifest.json"]
    node["items"].pop()
    put_json(server, "/rocks/manifest.json", node)
    assert len(built(tmp_path, web, "", update)) == 1


def test_a_collection_of_version_2_with_a_circle_and_a_gap(server, web, tmp_path):
    node = manifest_2(server, "dunes", {"1r": DUNE})
    inner = put_json(server, "/dunes/manifest.json", node)
    top, sub = f"{server.url}/top.json", f"{server.url}/sub.json"

    def collection(id, **parts):
        return {"@id": id, "@type": "sc:Collection", "label": "All", **parts}

    put_json(
        server, "/top.json", collection(top, collections=[{"@id": sub, "@type": "sc:Collection"}])
    )
    manifests = [{"@id": at, "@type": "sc:Manifest"} for at in (inner, f"{server.url}/none.json")]
    back = [{"@id": top, "@type": "sc:Collection"}]
    put_json(server, "/sub.json", collection(sub, manifests=manifests, members=back))
    store = built(tmp_path, web, top)
    (file,) = files(store)
    said = store.about.of(file)
    assert (said.title, said.credit) == ("Dunes \xb7 1r", "Library")
    assert said.link == f"{server.url}/page/dunes"
    assert said.more["Canvas"] == f"{server.url}/dunes/canvas/0"
    reasons = left_out(store)
    assert (
        reasons.keys() == {f"{server.url}/none.json"}
        and "404" in reasons[f"{server.url}/none.json"]
    )
    # A server that is away takes nothing away.
    server.answers.clear()
    away = built(tmp_path, web, "", update)
    assert len(away) == 1 and "previous version is used" in left_out(away)[top]


def test_a_service_that_does_not_shrink_and_a_choice(server, web, tmp_path):
    node = manifest_3(server, "rocks", {"a": PETRA, "b": DUNE, "c": PETRA + b"c"})
    bodies = [canvas["items"][0]["items"][0]["body"] for canvas in node["items"]]
    bodies[0]["service"][0]["profile"] = "level0"
    server.put("/rocks/0-full.jpg", PETRA)
    del server.answers["/rocks/image/1/full/!1024,1024/0/default.jpg"]  # refused by its server
    server.put("/rocks/1-full.jpg", DUNE)
    bodies[2] |= {"width": 600, "height": 400}  # is not made larger
    server.put("/rocks/image/2/full/max/0/default.jpg", PETRA + b"c")
    annotation = node["items"][0]["items"][0]["items"][0]
    annotation["body"] = {"type": "Choice", "items": [bodies[0], {"type": "Image"}]}
    store = built(tmp_path, web, put_json(server, "/rocks/manifest.json", node))
    assert len(store) == 3 and not left_out(store)


def test_what_a_manifest_says_at_length_is_cut_and_can_be_read(server, web, tmp_path, monkeypatch):
    node = manifest_3(server, "rocks", {"a": PETRA})
    node["requiredStatement"]["value"] = {"en": ["x" * 600, "y" * 600]}
    node["metadata"] = [
        {"label": {"en": [f"Date {number}"]}, "value": {"none": ["z" * 900]}} for number in range(8)
    ]
    node["items"][0]["id"] += "?" + "c" * 1000
    address = put_json(server, "/rocks/manifest.json", node)
    store = built(tmp_path, web, address)
    said = store.about.of(*files(store))
    assert said.credit == "x" * 600 + ", " + "y" * 398
    assert list(said.more) == [f"Date {number}" for number in range(8)], "no Canvas so long"
    for module in ("about", "sources.collected.description"):
        monkeypatch.setattr(f"index_store.{module}.MAX_TABLE_BYTES", 4000)
    store = built(tmp_path, web, address)
    assert list(store.about.of(*files(store)).more) == ["Date 0", "Date 1"]
    for module in ("about", "sources.collected.description"):
        monkeypatch.setattr(f"index_store.{module}.MAX_TABLE_BYTES", 1000)
    with pytest.raises(BadList, match="are too large"):
        built(tmp_path, web, address)


def test_tags_are_taken_out_of_a_text_of_bounded_length():
    assert text_of("<b>Ann</b> < Bob <i") == "Ann < Bob <i"
    assert text_of("<" * 10**6 + "end") == "<" * MAX_CREDIT
    assert text_of("<em>" * 10**6 + "end") == ""


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", b"[" * 100_000,
     b'{"type": "Manifest", "items": [1, null, {"items": "x"}]}',
     b'{"type": "Manifest", "label": {"en": {"a": [[[1]]]}}, "items": [{"items": [{"items": '
     b'[{"body": {"id": 7, "type": "Image"}}]}]}]}',
     b'{"type": "Manifest", "items": [{"items": [{"items": [{"body": {"id": "file:///x"}}]}]}]}'],
)  # fmt: skip
def test_a_document_that_is_no_manifest_is_a_sentence(server, web, tmp_path, body):
    address = server.put("/m.json", body, "application/json")
    with pytest.raises((BadList, NothingToIndex)):
        built(tmp_path, web, address)


def test_the_command_fetches_from_this_machine_only_when_it_may(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "index_store.commands.extractor_for", lambda *_, **__: (QuickExtractor(), "quick")
    )
    shutil.copy(GALLERY / "wine.jpg", tmp_path)
    url = server.put("/petra.jpg", PETRA)
    (tmp_path / "list.csv").write_text(f"url\n{url}\n")
    command = ["build", "--list", str(tmp_path / "list.csv"), "--store", str(tmp_path / "s")]
    assert main(command) == 1
    assert "of a local network; --allow-private fetches from it" in capsys.readouterr().err
    assert server.paths() == []
    assert main([*command, "--allow-private"]) == 0
    assert "1 photo indexed, 0 left out" in capsys.readouterr().out
    assert main(["build", "--store", str(tmp_path / "s")]) == 1
    assert "No folder of photos is named" in capsys.readouterr().err
