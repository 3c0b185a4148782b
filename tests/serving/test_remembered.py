"""What links to uploads need is remembered for so long, and so much of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from extractor import LocalFeatures
from extractor.keypoints.sift import MAX_POINTS
from search import QueryPhoto
from serving.galleries.upload_cache import LINK_BYTES, PARTS, CachedUpload, UploadCache, size

MB = 10**6


def test_a_link_works_until_it_said():
    now = [100.0]
    kept = UploadCache(60, 2, MB, clock=lambda: now[0])
    known = kept.keep()
    token = known.token
    assert known.until == 160 and kept.find(token) is known and kept.find("x") is None
    now[0] = 159.9
    assert kept.find(token) is known, "looking does not prolong it"
    now[0] = 160.0
    assert kept.find(token) is None and len(kept) == 0


def test_the_oldest_goes_first():
    kept = UploadCache(60, 2, MB, clock=lambda: 0.0)
    tokens = [kept.keep().token for _ in range(3)]
    assert len(set(tokens)) == 3 and [kept.find(t) is not None for t in tokens] == [
        False,
        True,
        True,
    ]


def test_few_parts_are_kept_and_the_whole_always():
    kept = UploadCache(60, 2, MB)
    known, photo = kept.keep(), QueryPhoto(np.zeros(2, np.float32))
    kept.add(known, "model", None, photo)
    for left in range(20):
        kept.add(known, "model", (left / 100, 0.0, 1.0, 1.0), photo)
    assert len(known.photos) == PARTS and ("model", None) in known.photos
    assert ("model", (0.19, 0.0, 1.0, 1.0)) in known.photos


def test_another_tab_may_read_while_one_adds():
    kept = UploadCache(60, 2, MB)
    known, photo = kept.keep(), QueryPhoto(np.zeros(2, np.float32))
    kept.add(known, "model", None, photo)
    for number, _ in enumerate(known.photos.items()):
        kept.add(known, "model", (number / 10, 0.0, 1.0, 1.0), photo)
    assert len(known.photos) == 2


def described(points: int = 2000) -> QueryPhoto:
    """What one upload with so many keypoints takes; its descriptor is a row of two."""
    keypoints = LocalFeatures(
        np.zeros((points, 2), np.float32),
        np.zeros(points, np.complex64),
        np.zeros((points, 128), np.uint8),
        (480, 640),
    )
    descriptor = np.zeros((2, 2048), np.float32)[0]
    return QueryPhoto(descriptor, keypoints={"sift": keypoints})


def held(knowns: list[CachedUpload]) -> int:
    """Bytes of memory that the arrays of these uploads keep alive."""
    buffers = {}
    for known in knowns:
        for photo in known.photos.values():
            sift = photo.keypoints["sift"]
            for array in (photo.descriptor, sift.points, sift.frames, sift.descriptors):
                while array.base is not None:
                    array = array.base
                buffers[id(array)] = array.nbytes
    return sum(buffers.values())


def test_all_uploads_together_hold_so_many_bytes():
    links, most = 10, 10 * LINK_BYTES + 10**5
    kept, knowns = UploadCache(60, links, most), []
    for _ in range(links):
        knowns.append(kept.keep())
        kept.add(knowns[-1], "model", None, described())
        for part in range(PARTS):
            kept.add(knowns[-1], "model", (part / 10, 0.0, 1.0, 1.0), described())
            there = [known for known in knowns if kept.find(known.token) is known]
            assert held(there) <= most
    assert len(there) == links, "parts have gone, and no upload"
    assert all(("model", None) in known.photos for known in knowns)
    kept.add(knowns[5], "another model", None, described(4000))
    assert [kept.find(known.token) is None for known in knowns] == [True, True] + 8 * [False]
    assert held(knowns[2:]) <= most
    # Whoever still holds an upload that has gone learns of it, and nobody else counts it.
    kept.add(knowns[0], "model", (0.5, 0.0, 1.0, 1.0), described())
    assert len(knowns[0].photos) == 2 and len(kept) == 8


def test_links_are_as_large_as_the_setting_says():
    photo = replace(described(MAX_POINTS), descriptor=np.zeros(2048, np.float32))
    kept = UploadCache(60, 1, LINK_BYTES)
    known = kept.keep()
    kept.add(known, "model", None, photo)
    assert kept.find(known.token) is known and held([known]) == size(known.photos)
    assert LINK_BYTES == 0.3e6, "as the comment on `Settings.links` says"
