"""Keypoints beyond the store's budget: detected once, and kept."""

from __future__ import annotations

import os
import sqlite3
import threading

import numpy as np
import pytest

from extractor import LocalFeatures
from index_store import KeypointCache, Store, build
from index_store.storage import keypoint_cache
from index_store.storage.keypoint_cache import FILE_NAME, keep_only
from search import Engine
from tests.conftest import GALLERY


def test_what_was_put_is_found_by_all(tmp_path):
    cache = KeypointCache(tmp_path, 7)
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("b", b"two")
    cache.put("a", b"three")
    assert cache.get("a") == b"three" and KeypointCache(tmp_path, 7).get("b") == b"two"
    assert KeypointCache(tmp_path, 8).get("b") is None, "they were found in another way"
    assert cache.get("b") is None


def test_a_fixed_number_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(keypoint_cache, "MAX_PHOTOS", 20)
    cache, data = KeypointCache(tmp_path, 0), os.urandom(40_000)
    for number in range(60):
        cache.put(str(number), data)
        cache.put(str(number), data)  # as two searches at once do
    kept = [number for number in range(60) if cache.get(str(number))]
    assert kept == list(range(kept[0], 60)) and 8 <= len(kept) <= 20
    del cache
    assert (tmp_path / FILE_NAME).stat().st_size < 30 * len(data)


def test_many_threads_at_once(tmp_path):
    cache = KeypointCache(tmp_path, 0)

    def fill(start: int) -> None:
        for number in range(start, 60, 4):
            cache.put(str(number), str(number).encode())

    threads = [threading.Thread(target=fill, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cache.get(str(number)) for number in range(60)] == [b"%d" % n for n in range(60)]


def test_a_flipped_bit_is_a_miss(tmp_path):
    KeypointCache(tmp_path, 0).put("a", b"data")
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE keypoints SET data = ?", (b"dat`",))
    cache = KeypointCache(tmp_path, 0)
    assert cache.get("a") is None
    cache.put("a", b"data")
    assert cache.get("a") == b"data"


@pytest.mark.parametrize("spoil", ["no database", "a folder", "no place"])
def test_without_its_file_it_keeps_in_memory(tmp_path, spoil, caplog):
    path, store = tmp_path / FILE_NAME, tmp_path
    if spoil == "no database":
        path.write_bytes(b"of somebody else" * 1000)
    elif spoil == "a folder":
        path.mkdir()
    else:
        store = tmp_path / "none"
    cache = KeypointCache(store, 0)
    cache.put("a", b"data")
    assert cache.get("a") == b"data" and FILE_NAME in caplog.text
    assert spoil != "no database" or path.read_bytes().startswith(b"of somebody else")


def test_what_is_gone_from_the_store_is_let_go(tmp_path):
    keep_only(tmp_path, set())
    assert not (tmp_path / FILE_NAME).exists()
    cache = KeypointCache(tmp_path, 0)
    secret = os.urandom(3000)
    for name in "abc":
        cache.put(name, secret if name == "b" else b"x" * 3000)
    keep_only(tmp_path, {"a", "c"})
    assert cache.get("b") is None and cache.get("a") and cache.get("c")
    del cache
    assert secret[:64] not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.fixture
def beyond(photos, tmp_path, extractor, monkeypatch) -> Engine:
    """A gallery without stored keypoints."""
    monkeypatch.setattr("index_store.storage.extraction_cache.LOCAL_FEATURES_BUDGET", 0)
    build(photos, tmp_path / "s", extractor)
    return Engine(Store(tmp_path / "s", extractor), extractor)


def test_keypoints_are_found_in_thumbnails_and_kept(beyond, photos, tmp_path, monkeypatch):
    for photo in photos.iterdir():
        photo.unlink()  # the originals are not needed
    query = beyond.prepare((GALLERY / "taj-mahal.jpg").read_bytes())
    first = beyond.search(query, verify="sift")
    assert first.notes == []
    matched = {hit.file for hit in first.hits if hit.inliers}
    assert {"taj-mahal.jpg", "taj-mahal-2.jpg"} <= matched < set(hit.file for hit in first.hits)
    monkeypatch.setattr(Store, "thumbnail_features", None)  # now they are at hand
    again = Engine(Store(tmp_path / "s"), beyond.extractor)
    query = again.prepare((GALLERY / "taj-mahal.jpg").read_bytes())
    second = again.search(query, verify="sift")
    assert [(h.file, h.inliers) for h in second.hits] == [(h.file, h.inliers) for h in first.hits]
    found = again.matchers["sift"].gallery_features(0)
    assert isinstance(found, LocalFeatures) and max(found.size) <= 640
    assert np.all(found.points <= found.size[::-1])
