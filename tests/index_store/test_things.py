"""Things of a gallery: by hand, against a slow average linkage, and as the command lists them."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest

from index_store import Store, build, remove
from index_store.__main__ import main
from index_store.analysis.things import (
    DOUBT,
    EXPECTED,
    LIKELY,
    LIKENESS,
    POINTS,
    Thing,
    above_background,
    group,
    probability,
    proven_pairs,
    things,
)
from index_store.graph.matching_graph import EDGE, PROVEN
from tests.conftest import QuickExtractor


def grouped(edges: dict[tuple[int, int], float]) -> list[Thing]:
    return group(np.array(list(edges)), np.array(list(edges.values())))


def members(found: list[Thing]) -> list[list[int]]:
    return [sorted(thing.ids) for thing in found]


def clique(ids: list[int], value: float) -> dict[tuple[int, int], float]:
    return dict.fromkeys(combinations(ids, 2), value)


LEFT, RIGHT = [0, 1, 2, 3], [4, 5, 6, 7]


def test_two_cliques_with_a_weak_bridge_are_two_things():
    edges = clique(LEFT, 0.95) | clique(RIGHT, 0.9) | {(3, 4): 0.8}
    found = grouped(edges)
    assert members(found) == [LEFT, RIGHT]
    assert [thing.sure for thing in found] == pytest.approx([0.95, 0.9])


def test_one_wrong_pair_does_not_melt_two_things():
    edges = clique(LEFT, 0.9) | clique(RIGHT, 0.9) | {(3, 4): 1.0}
    sizes = sorted(len(ids) for ids in members(grouped(edges)))
    assert sizes == [3, 5], "the wrong pair stays together, with one of the two"
    pairs = {(0, 1): 0.9, (2, 3): 0.9, (1, 2): 0.85}
    assert members(grouped(pairs)) == [[0, 1], [2, 3]]


def test_many_edges_between_two_groups_make_them_one():
    edges = clique(LEFT, 0.95) | clique(RIGHT, 0.9)
    edges |= {(one, other): 0.8 for one, other in zip(LEFT * 2, RIGHT + RIGHT[::-1])}
    found = grouped(edges)
    assert members(found) == [LEFT + RIGHT]
    assert found[0].sure == pytest.approx(0.8 * 8 / (8 + DOUBT * 8))


def test_a_chain_of_strong_edges_stays():
    found = grouped({(0, 1): 0.99, (1, 2): 0.97, (2, 3): 0.95})
    assert members(found) == [[0, 1, 2, 3]] and found[0].sure == pytest.approx(0.97 / 1.3)


def test_doubtful_edges_join_nothing():
    assert grouped({(0, 1): LIKELY - 1e-6, (1, 2): 0.1}) == []
    assert group(np.empty((0, 2), int), np.empty(0)) == []


def test_the_face_has_most_evidence_and_the_largest_thing_comes_first():
    edges = {(5, 9): 0.9, (2, 7): 0.9, (2, 4): 0.95, (4, 7): 0.75}
    assert [thing.ids for thing in grouped(edges)] == [(2, 4, 7), (5, 9)]


def slow_linkage(edges: dict[tuple[int, int], float]) -> list[list[int]]:
    """All pairs of groups are looked at again before each join."""
    groups = [frozenset([id]) for id in sorted({id for pair in edges for id in pair})]
    while True:
        best = -1.0, None
        for one, other in combinations(groups, 2):
            between = [
                v for (a, b), v in edges.items() if len({a, b} & one) == len({a, b} & other) == 1
            ]
            possible = min(len(one) * len(other), EXPECTED)
            worth = between and sum(between) / (
                len(between) + DOUBT * max(0, possible - len(between))
            )
            best = max(best, (worth or 0.0, (one, other)), key=lambda found: found[0])
        worth, pair = best
        if pair is None or worth < LIKELY:
            return sorted(
                (sorted(one) for one in groups if len(one) > 1), key=lambda g: (-len(g), g)
            )
        groups = [one for one in groups if one not in pair] + [pair[0] | pair[1]]


@pytest.mark.parametrize("seed", range(12))
def test_any_graph_is_grouped_as_by_a_slow_average_linkage(seed):
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(16), 2) if rng.random() < 0.3]
    edges = {pair: float(value) for pair, value in zip(pairs, rng.random(len(pairs)) ** 0.3)}
    expected = slow_linkage(edges)
    assert sorted(members(grouped(edges)), key=lambda g: (-len(g), g)) == expected
    shuffled = {pairs[i]: edges[pairs[i]] for i in rng.permutation(len(pairs))}
    assert grouped(shuffled) == grouped(edges)
    renamed = dict(enumerate(rng.permutation(100)[:16].tolist()))
    other = grouped({tuple(sorted((renamed[a], renamed[b]))): v for (a, b), v in edges.items()})
    assert {frozenset(t.ids) for t in other} == {frozenset(renamed[i] for i in g) for g in expected}


def test_one_of_two_proofs_is_enough():
    def sigma(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    rows = np.array([[0.6, 0.5, 0.0], [0.1, 0.1, 0.4], [0.1, 0.1, 0.0]])
    expected = [
        1
        - (1 - sigma(POINTS[0] + POINTS[1] * coverage + POINTS[2] * agreement))
        * (1 - sigma(LIKENESS[0] + LIKENESS[1] * above))
        for coverage, agreement, above in rows
    ]
    assert probability(rows).tolist() == pytest.approx(expected)
    assert (probability(rows) > LIKELY).tolist() == [True, True, False]


def test_pairs_are_those_with_enough_points_once_and_without_damaged_photos():
    edges = np.zeros((4, 2), EDGE)
    edges["id"] = [[1, 2], [0, -1], [0, 3], [2, 9]]  # 9: of a damaged file
    edges["inliers"] = [[PROVEN, PROVEN - 1], [PROVEN, 60], [PROVEN - 1, 30], [30, 50]]
    pairs, found = proven_pairs(edges, np.array([], int))
    assert pairs.tolist() == [[0, 1], [2, 3]] and found["inliers"].tolist() == [PROVEN, 30]
    assert proven_pairs(edges, np.array([3]))[0].tolist() == [[0, 1]]
    sims = np.float32([[1, 0.9, 0.2], [1, 0.9, 0.1], [1, 0.5, 0.4], [1, 0.5, 0.3]])
    above = above_background(np.array([[0, 1], [2, 3]]), np.float16([0.9, 0.5]), sims)
    assert above.tolist() == pytest.approx([0.0, 0.0], abs=1e-3), "of a few photos, one in five"


def test_things_of_the_sample_gallery(gallery):
    found = things(gallery)
    named = [{photo.file for photo in gallery.catalogue.photos_of(t.ids)} for t in found]
    assert {"eiffel-tower.jpg", "eiffel-tower-2.jpg", "tour-eiffel.jpg"} in named
    assert {"colosseum.jpg", "colosseum-2.jpg"} in named
    everything = [id for thing in found for id in thing.ids]
    assert len(everything) == len(set(everything)) and len(found) >= 8
    assert all(LIKELY <= thing.sure <= 1 and len(thing.ids) > 1 for thing in found)


def test_damaged_and_removed_photos_are_in_no_thing(small, extractor):
    def files(store: Store) -> set[str]:
        ids = [id for thing in things(store) for id in thing.ids]
        return {photo.file for photo in store.catalogue.photos_of(ids)}

    with Store(small, extractor) as store:
        assert {"colosseum.jpg", "colosseum-2.jpg"} <= files(store)
        store.leave_out(np.array([store.catalogue.find("colosseum-2.jpg").id]))
        assert not {"colosseum.jpg", "colosseum-2.jpg"} & files(store)
    remove(["brandenburg-gate.jpg"], small)
    with Store(small, extractor) as store:
        assert "colosseum.jpg" in files(store)
        assert not {"brandenburg-gate.jpg", "brandenburg-gate-2.jpg"} & files(store)


def test_the_command_lists_them(small, capsys):
    assert main(["things", "--store", str(small), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with Store(small, embedded=True) as store:
        expected = [
            [photo.file for photo in store.catalogue.photos_of(thing.ids)]
            for thing in things(store)
        ]
        assert told["photos"] == len(store)
    assert [thing["photos"] for thing in told["things"]] == expected and len(expected) >= 2
    assert all(thing["face"] == thing["photos"][0] for thing in told["things"])
    assert main(["things", "--store", str(small)]) == 0
    printed = capsys.readouterr().out
    shown = sum(map(len, expected))
    assert f"{len(expected)} things with more than one photo: {shown} of 12 photos\n" in printed
    for face, *others in expected:
        assert f"\n{face}: {len(others) + 1} photos, " in printed
        assert all(f"\n  {other}\n" in printed for other in others)


def test_without_a_matching_graph_a_sentence_says_what_to_do(photos, tmp_path, capsys):
    build(photos, tmp_path / "s", QuickExtractor(), matching=False)
    assert main(["things", "--store", str(tmp_path / "s")]) == 1
    assert "were not compared with each other" in (said := capsys.readouterr().err)
    assert "build --matching" in said
