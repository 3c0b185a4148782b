"""SIFT verification against homographies that are known because the test made them, and against
traps drawn for it.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from evaluation.studies.speed import verification_cost as benchmark
from extractor import LocalFeatures, local_features, read_photo
from extractor.keypoints.sift import DESCRIPTOR_SCALE, MAX_POINTS, STORED_POINTS
from index_store import Store
from matching.overlays import in_same_margin
from matching.ratio_test import (
    NOISE,
    PRODUCTS_MODEL,
    RATIO,
    SIGNED_MODEL,
    fastest_session,
    inner_products,
    match,
    multiply,
    open_session,
    scratch,
)
from matching.verification import (
    MIN_MATCHES,
    SPOT,
    Verification,
    covered_share,
    distinct_spots,
    is_plausible,
    verify,
    verify_many,
    vote_for_transform,
)
from search.verify.matcher import Sift
from tests.conftest import GALLERY
from tests.support.drawings import (
    HEIGHT,
    WIDTH,
    facade,
    page,
    plain,
    put,
    sign,
    texture,
    warped,
    window_grid,
    write,
)

ENOUGH = 15  # points: no doubt
PERSPECTIVE = np.array([[0.85, 0.12, 20], [-0.1, 0.9, 40], [3e-4, -2e-4, 1]])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(GALLERY / "neuschwanstein-castle.jpg")


def compare(query: np.ndarray, hit: np.ndarray) -> Verification:
    return verify(local_features(query), local_features(hit))


def mapped(points: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.perspectiveTransform(np.float32(points)[:, None], homography)[:, 0]


# -- the same thing --------------------------------------------------------------------------------


def test_recovers_a_known_homography(photo):
    result = compare(photo, warped(photo, PERSPECTIVE))
    assert result.inliers >= 100
    corners = np.float32([[50, 50], [550, 50], [50, 380], [550, 380]])
    assert np.abs(mapped(corners, PERSPECTIVE) - mapped(corners, result.homography)).max() < 4
    error = np.linalg.norm(
        mapped(result.query_points, result.homography) - result.hit_points, axis=1
    )
    assert np.median(error) < 1.5 and error.max() < 6
    assert result.inliers == len(result.query_points) == len(result.hit_points) <= result.matches
    assert result.query_size == photo.shape[:2]


def middle(photo: np.ndarray, zoom: float) -> np.ndarray:
    height, width = int(HEIGHT / zoom), int(WIDTH / zoom)
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def enlarged(photo: np.ndarray) -> np.ndarray:
    return cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(
        cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
    )


CHANGES = {
    "perspective": lambda photo: warped(photo, PERSPECTIVE),
    "crop": lambda photo: middle(photo, 2),
    "small crop": lambda photo: middle(photo, 3),
    "zoom 2": lambda photo: enlarged(middle(photo, 2)),
    "zoom 3": lambda photo: enlarged(middle(photo, 3)),
    "darker": lambda photo: np.clip(photo * 0.5 + 10, 0, 255).astype(np.uint8),
    "brighter": lambda photo: np.clip(photo * 1.3 + 20, 0, 255).astype(np.uint8),
    "JPEG 20": lambda photo: jpeg(photo, 20),
    "quarter turn": lambda photo: np.ascontiguousarray(np.rot90(photo)),
    "half turn": lambda photo: np.ascontiguousarray(photo[::-1, ::-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_building_is_verified(change):
    building = facade(1)
    for result in (
        compare(building, CHANGES[change](building)),
        compare(CHANGES[change](building), building),
    ):
        assert result.inliers >= ENOUGH and result.coverage > 0.3


def test_pages_and_windows_are_verified_with_themselves():
    for photo in (page(1), window_grid(plain(1), 4, 6)):
        assert compare(photo, warped(photo, PERSPECTIVE)).inliers >= ENOUGH


@pytest.mark.parametrize("background", [plain, texture])
def test_a_small_thing_in_two_scenes_is_verified(background):
    board = sign(3, 100, 75)
    shrunk = np.array([[0.9, -0.3, 60], [0.25, 1.1, -60], [0, 0, 1.0]])
    one = put(background(5), board, 100, 200)
    other = warped(put(background(6), board, 150, 200), shrunk)
    result = compare(one, other)
    assert result.inliers >= ENOUGH and 0.005 < result.coverage < 0.1
    x, y = result.query_points.T
    assert ((x > 95) & (x < 205) & (y > 195) & (y < 280)).mean() > 0.9


def test_a_collage_of_the_same_thing_twice_is_verified(photo):
    twice = np.vstack([photo, jpeg(photo, 60)])
    assert compare(photo, twice).inliers >= ENOUGH and compare(twice, photo).inliers >= ENOUGH


# -- other things ----------------------------------------------------------------------------------


def test_other_things_are_not_verified(photo):
    query = local_features(photo)
    for name in ("hammer-1.jpg", "wine.jpg", "taj-mahal.jpg", "igloo.jpg", "alphabets.jpg"):
        assert verify(query, local_features(read_photo(GALLERY / name))).inliers < MIN_MATCHES, name


def test_mirrored_photos_are_refused_as_a_whole(photo):
    for original in (photo, texture(1), page(1)):
        for mirrored in (original[:, ::-1], original[::-1]):
            result = compare(original, np.ascontiguousarray(mirrored))
            assert result.inliers == 0 and result.homography is None and result.coverage == 0
            assert result.matches > 20


def test_mirrored_buildings_agree_in_their_symmetric_windows_at_most():
    """A window that is its own mirror image is there in the mirrored building too: a weak model,
    and never a mirroring one.
    """
    for seed in range(1, 5):
        result = compare(facade(seed), np.ascontiguousarray(facade(seed)[:, ::-1]))
        assert result.inliers < Sift.floor
        assert result.homography is None or np.linalg.det(result.homography[:2, :2]) > 0


def test_buildings_with_the_same_windows_are_not_the_same():
    """Windows pixel for pixel alike, at the same places or a little elsewhere: matches abound, and
    some always agree.
    """
    drawn = {
        "walls": [facade(seed) for seed in range(1, 6)],
        "no walls": [window_grid(plain(seed), 4, 6) for seed in range(1, 6)],
        "spacings": [window_grid(plain(seed), 4, 6, margin=40 + 9 * seed) for seed in range(1, 6)],
        "numbers": [
            window_grid(plain(seed), *grid)
            for seed, grid in enumerate([(4, 6), (4, 7), (5, 6), (5, 8), (3, 5)])
        ],
    }
    for name, photos in drawn.items():
        buildings = [local_features(photo) for photo in photos]
        results = [
            result for i, one in enumerate(buildings) for result in verify_many(one, buildings[:i])
        ]
        assert max(result.inliers for result in results) < Sift.floor, name
        assert len(results) == 10 and np.mean([result.matches for result in results]) > 10, name


def test_pages_in_the_same_letters_are_not_the_same():
    pages = [local_features(page(seed)) for seed in range(1, 6)]
    results = verify_many(pages[0], pages[1:])
    assert (
        all(result.inliers == 0 for result in results)
        and min(result.matches for result in results) > 20
    )


LOGO = sign(8, 150, 110)
CAPTION = ["(c) photo agency 2026   www.photo-agency.example   no. 1234567"]
MARKS = {
    "caption": lambda photo: write(photo, CAPTION, 20, HEIGHT - 12, 0.5),
    "headline": lambda photo: write(photo, CAPTION, 20, 24, 0.5),
    **{
        f"logo {left} {top}": lambda photo, at=(left, top): put(photo, LOGO, *at)
        for left in (6, WIDTH - 156)
        for top in (6, HEIGHT - 116)
    },
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("background", [plain, texture])
def test_a_shared_watermark_verifies_nothing_and_hides_nothing(mark, background):
    one, other = MARKS[mark](background(5)), MARKS[mark](background(6))
    assert compare(one, other).inliers == 0
    board = sign(3)
    assert compare(put(one, board, 250, 200), put(other, board, 290, 150)).inliers >= ENOUGH


def test_the_same_logo_verifies_in_the_middle():
    """So the margin is what the test above is about, not that a logo would not match."""
    assert compare(put(plain(5), LOGO, 250, 180), put(plain(6), LOGO, 300, 150)).inliers >= ENOUGH


def test_many_matches_on_one_spot_are_one_match():
    spot = np.float32([101, 50]) + np.linspace(0, 1, 27, dtype=np.float32)[:, None]
    spread = np.float32([[10 * i, 20 * i] for i in range(27)])
    assert len(distinct_spots(spot, spread)) == 1
    assert len(distinct_spots(spread, spot)) == 1
    assert len(distinct_spots(spread, spread)) == 27


def made(points: np.ndarray, frames: complex = 10) -> LocalFeatures:
    """Features with one descriptor a point, all far from each other, the same for each call."""
    descriptors = np.zeros((len(points), 128), np.uint8)
    descriptors[np.arange(len(points))[:, None], 2 * np.arange(len(points))[:, None] + [0, 1]] = 255
    frames = np.full(len(points), frames, np.complex64)
    return LocalFeatures(np.float32(points), frames, descriptors, (HEIGHT, WIDTH))


def scattered(width: float, height: float) -> np.ndarray:
    """27 points (27, 2) in a box of this size in pixels, around (320, 240), in no row."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 3))
    return np.stack(
        [320 + width * (x + 0.03 * np.sin(9 * y)), 240 + height * (y + 0.1 * np.sin(5 * x))], -1
    ).reshape(27, 2)


def test_matches_that_cover_next_to_nothing_are_refused():
    wide, dot, line = scattered(240, 180), scattered(9 * SPOT, 3 * SPOT), scattered(240, 1)
    result = verify(made(wide), made(wide + 20))
    assert result.inliers == 27 and result.coverage == pytest.approx(
        240 * 180 / (640 * 480), rel=0.15
    )
    for points in (dot, line):
        result = verify(made(points), made(points + 20))
        assert (result.inliers, result.coverage, result.matches) == (
            0,
            0,
            27,
        ) and result.homography is None


def among_others(points: np.ndarray, keypoints: int) -> LocalFeatures:
    """Features of which only the first match others of this kind."""
    features = made(np.vstack([points, np.full((keypoints - len(points), 2), 5.0)]))
    features.descriptors[len(points) :] = 0
    return features


@pytest.mark.parametrize(
    "count, keypoints, zoom, jitter, inliers",
    [
        (12, 60, 1.0, 0.5, 0),  # a tile of a watermark
        (12, 60, 1.0, 3.0, 12),
        (12, 60, 1.1, 0.5, 12),  # from another distance
        (12, 20, 1.0, 0.5, 12),  # more than half of all keypoints: a copy of a photo with few
        (20, 60, 1.0, 0.5, 20),  # a crop
    ],
)
def test_a_few_points_that_are_shifted_alike_are_an_overlay(
    count, keypoints, zoom, jitter, inliers
):
    points = scattered(240, 180)[:count]
    moved = (points - 320) * zoom + 330
    moved += np.random.default_rng(0).uniform(-jitter, jitter, moved.shape)
    result = verify(among_others(points, keypoints), among_others(moved, keypoints))
    assert (result.inliers, result.homography is None) == (inliers, inliers == 0)


def test_keypoints_that_turn_otherwise_than_the_picture_are_no_evidence():
    points = scattered(240, 180)
    assert verify(made(points), made(points, 11)).inliers == 27  # sizes are rough
    assert (
        verify(made(points), made(points, 30)).inliers == 0
    )  # three times larger, in a picture of the same scale
    assert (
        verify(made(points), made(points, 10j)).inliers == 0
    )  # a quarter turn, in a picture that is upright


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "homography, plausible",
    [
        (np.eye(3), True),
        (PERSPECTIVE, True),
        (np.diag([3.0, 3.0, 1.0]), True),
        (np.diag([-1.0, 1.0, 1.0]), False),  # mirrors
        (np.diag([0.01, 0.01, 1.0]), False),  # collapses
        (np.diag([10.0, 1.0, 1.0]), False),  # smears
        (
            np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]),
            False,
        ),  # folds: the horizon crosses the photo
        (np.full((3, 3), np.nan), False),
    ],
)
def test_plausible_homographies(homography, plausible):
    points = np.float32([[10, 10], [500, 20], [480, 400], [30, 380]])
    assert is_plausible(homography, points) is plausible


def test_margins_are_the_same_edge_or_corner_of_both():
    size, square = (400, 600), (500, 500)
    at = np.float32(
        [
            [0.5, 0.5],
            [0.5, 0.97],
            [0.5, 0.03],
            [0.5, 0.97],
            [0.2, 0.8],
            [0.2, 0.8],
            [0.97, 0.5],
            [0.2, 0.5],
        ]
    )
    to = np.float32(
        [
            [0.5, 0.5],
            [0.3, 0.93],
            [0.5, 0.97],
            [0.5, 0.85],
            [0.1, 0.9],
            [0.9, 0.9],
            [0.98, 0.2],
            [0.2, 0.5],
        ]
    )
    expected = [False, True, False, False, True, False, True, False]
    assert in_same_margin(at * (600, 400), size, to * (500, 500), square).tolist() == expected


def test_vote_finds_the_transform_of_most(rng):
    source = rng.uniform(100, 500, (60, 2)).astype(np.float32)
    turn = np.full(60, 0.5 * np.exp(0.4j))
    at = source.astype(np.float64).view(np.complex128)[:, 0]
    to = turn * at + (40 + 90j)
    to[30:45] += 300  # the same turn, elsewhere
    to[45:] = rng.uniform(100, 500, 15) + 1j * rng.uniform(100, 500, 15)
    turn[45:] = np.exp(1j * np.linspace(1.5, 5, 15))  # each its own way
    turn[20:22] *= np.exp(0.7j)  # at the right place, but turned
    turn[22:24] *= 2.5  # and but too large
    target = np.float32(np.stack([to.real, to.imag], axis=1))
    assert vote_for_transform(source, target, turn).tolist() == [*range(20), *range(24, 30)]
    assert vote_for_transform(source[30:], target[30:], turn[30:]).tolist() == list(range(15))
    assert len(vote_for_transform(source[:0], target[:0], turn[:0])) == 0


def test_covered_share_is_that_of_the_hull():
    points = np.float32([[10, 10], [110, 10], [110, 60], [10, 60], [50, 30]])
    assert covered_share(points, (100, 200)) == pytest.approx(100 * 50 / (100 * 200))
    assert covered_share(points[:0], (100, 200)) == 0


@pytest.mark.parametrize("model, signed", [(PRODUCTS_MODEL, False), (SIGNED_MODEL, True)])
def test_inner_products_are_exact(rng, model, signed):
    session = open_session(model)
    is_exact = not signed or fastest_session()[1]  # signed ones only where there is VNNI
    for rows, columns in ((1, 1), (3, 200), (257, 64)):
        one, other = (
            rng.integers(0, 256, (rows, 128), np.uint8),
            rng.integers(0, 256, (columns, 128), np.uint8),
        )
        one[0] = other[0] = 255
        expected = one.astype(int) @ other.astype(int).T
        out = np.empty((rows, columns), np.int32)
        multiply(session, signed, one, other, out)
        assert (out == expected).all() or not is_exact
        np.testing.assert_array_equal(inner_products(one, other, out), expected)


@pytest.mark.parametrize("n, k", [(2, 2), (255, 300), (256, 7), (257, 513), (1000, 900)])
def test_matches_are_those_of_the_whole_product(rng, n, k):
    query, hit = rooted(rng, n), rooted(rng, k)
    hit[: min(n, k) // 2] = np.clip(
        query[: min(n, k) // 2].astype(int) + rng.integers(-9, 10, (min(n, k) // 2, 128)), 0, 255
    )
    products = query.astype(np.int64) @ hit.astype(np.int64).T
    expected = []
    for row in range(n):
        column = int(products[row].argmax())
        if row != products[:, column].argmax() or products[row, column] != products[row].max():
            continue
        others = [np.delete(products[row], column).max(), np.delete(products[:, column], row).max()]
        near, far = (
            max(1 - product / DESCRIPTOR_SCALE**2, NOISE)
            for product in (products[row, column], min(others))
        )
        if np.sqrt(near / far) < RATIO:
            expected.append([row, column])
    pairs = match(query, hit)
    assert sorted(pairs.tolist()) == expected
    assert len(expected) > min(n, k) // 4 or n == 2


def rooted(rng: np.random.Generator, count: int) -> np.ndarray:
    """RootSIFT bytes of random histograms (count, 128)."""
    histograms = rng.exponential(size=(count, 128))
    return (
        np.round(DESCRIPTOR_SCALE * np.sqrt(histograms / histograms.sum(1, keepdims=True)))
        .clip(0, 255)
        .astype(np.uint8)
    )


def test_a_thread_reuses_its_buffer_for_products():
    assert np.shares_memory(scratch(30, 40), scratch(50, 20))


def test_match_equals_brute_force(rng):
    query, hit = rooted(rng, 60), rooted(rng, 50)
    hit[:20] = query[:20]
    hit[20] = query[0]  # query 0 has two equal targets, but each of them only query 0
    hit[21] = hit[22] = query[30]
    query[31] = query[30]  # two by two the same: nobody knows which is which
    query[59] = query[
        5
    ]  # queries 5 and 59 want the same target, which they alone are like: one gets it
    cosine = query.astype(np.float64) @ hit.T.astype(np.float64) / DESCRIPTOR_SCALE**2
    distance = np.sqrt(np.maximum(1 - cosine, NOISE))
    expected = {}
    for i in range(60):
        for j in range(50):
            row, column = np.delete(distance[i], j), np.delete(distance[:, j], i)
            is_nearest = cosine[i, j] >= max(
                np.delete(cosine[i], j).max(), np.delete(cosine[:, j], i).max()
            )
            quotient = distance[i, j] / max(row.min(), column.min())
            if is_nearest and quotient < RATIO:
                expected[i, j] = quotient
    found = [(int(i), int(j)) for i, j in match(query, hit)]
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)
    ties = {(0, 0), (0, 20), (5, 5), (59, 5)}
    assert set(found) - ties == set(expected) - ties and len(set(found) & ties) == 2
    assert {(i, i) for i in range(1, 20)} - ties <= set(found) and not {30, 31} & {
        i for i, _ in found
    }
    quotients = [expected[pair] for pair in found]
    assert (np.diff(quotients) >= -1e-12).all()
    flipped = {(int(i), int(j)) for j, i in match(hit, query)}
    assert flipped - ties == set(found) - ties


def test_many_equal_one_by_one(photo):
    query = local_features(photo)
    flat = local_features(np.full((60, 80, 3), 90, np.uint8))
    hits = [
        flat,
        *(local_features(warped(photo, np.diag([s, s, 1.0]))) for s in (0.6, 0.9)),
        local_features(facade(1)),
    ]
    results = verify_many(query, hits)
    for hit, result in zip(hits, results, strict=True):
        alone = verify(query, hit)
        np.testing.assert_array_equal(result.query_points, alone.query_points)
        np.testing.assert_array_equal(result.hit_points, alone.hit_points)
        assert (result.inliers, result.matches, result.coverage) == (
            alone.inliers,
            alone.matches,
            alone.coverage,
        )
        assert result.hit_size == hit.size
    assert [result.inliers >= ENOUGH for result in results] == [False, True, True, False]
    assert verify_many(query, []) == []


# -- features --------------------------------------------------------------------------------------


def test_features_survive_storage_and_flat_photos_have_none(photo):
    features = local_features(photo)
    again = LocalFeatures.from_bytes(features.to_bytes())
    assert 0 < len(again.points) <= min(len(features.points), STORED_POINTS)
    assert verify(again, features).inliers > 0.9 * verify(again, again).inliers
    flat = local_features(np.full((60, 80, 3), 90, np.uint8))
    assert len(flat.points) == 0 and LocalFeatures.from_bytes(flat.to_bytes()).size == (60, 80)
    assert (
        verify(flat, features).inliers
        == verify(features, flat).inliers
        == verify(flat, flat).inliers
        == 0
    )


def test_frames_turn_and_grow_with_the_picture():
    query = local_features(texture(1))
    double = cv2.resize(texture(1)[:240, :320], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    quarter = np.ascontiguousarray(
        np.rot90(texture(1), -1)
    )  # clockwise: the x axis becomes the y axis
    for photo, expected in ((double, 2), (quarter, 1j)):
        hit = local_features(photo)
        pairs = match(query.descriptors, hit.descriptors)
        turn = hit.frames[pairs[:, 1]] / query.frames[pairs[:, 0]]
        assert (
            len(pairs) > 50
            and abs(np.median(turn.real) + 1j * np.median(turn.imag) - expected) < 0.1
        )


def test_a_region_keeps_the_keypoints_inside(photo):
    features = local_features(photo)
    part = features.inside((0.25, 0.5, 0.75, 1.0))
    x, y = (features.points / features.size[::-1]).T
    kept = (x >= 0.25) & (x <= 0.75) & (y >= 0.5)
    np.testing.assert_array_equal(part.points, features.points[kept])
    np.testing.assert_array_equal(part.frames, features.frames[kept])
    assert 0 < len(part.points) < len(features.points)


def test_root_sift_is_the_root_of_the_l1_normalised_histogram(photo):
    features = local_features(photo)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    _, sift = cv2.SIFT_create(nfeatures=MAX_POINTS).detectAndCompute(grey, None)
    root = np.sqrt(sift / sift.sum(1, keepdims=True))
    rows = features.descriptors / np.linalg.norm(
        features.descriptors.astype(np.float32), axis=1, keepdims=True
    )
    assert len(features.points) > 500 and (rows @ root.T).max(1).min() > 0.999
    assert np.abs(np.linalg.norm(features.descriptors / DESCRIPTOR_SCALE, axis=1) - 1).max() < 0.006


# -- benchmark -------------------------------------------------------------------------------------


def test_the_plain_loop_counts_what_it_should(photo):
    query = local_features(photo)
    hits = [
        local_features(warped(photo, PERSPECTIVE)),
        local_features(np.full((60, 80, 3), 90, np.uint8)),
    ]
    rows = [features.descriptors.astype(np.float32) for features in (query, *hits)]
    found = benchmark.naive(query, hits, rows)
    assert found[0] >= 100 and found[1] == 0


def test_benchmark_measures_and_reports(small_built):
    store = Store(small_built / "store")
    ids = [store.catalogue.find(name).id for name in ("taj-mahal.jpg", "dune.jpg")]
    costs = benchmark.measure(store, ids)
    assert [len(cost.passed) for cost in costs] == [len(store) - 1] * 2
    assert all(cost.first > cost.ours > 0 and cost.baseline > 0 for cost in costs)
    report = benchmark.format_costs(costs)
    both = sum(int((cost.passed & cost.baseline_passed).sum()) for cost in costs)
    assert "Hardware: " in report and f"of {2 * (len(store) - 1)} pairs: {both} in both" in report


def test_shipped_products_are_what_the_export_makes():
    from export.matching.inner_products import FOLDER, OUT, inner_products

    for name, signed in OUT.items():
        assert (FOLDER / name).read_bytes() == inner_products(signed)
