"""Things of a gallery: by hand, against a slow search, and as the command lists them."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest

from index_store import Store, build, remove
from index_store.__main__ import main
from index_store.analysis.things import (
    ALIKE,
    DOUBT,
    EXPECTED,
    LIKELY,
    LINKED,
    Thing,
    group,
    proven_pairs,
    things,
)
from index_store.graph.matching_graph import EDGE, PROVEN
from index_store.graph.proof import LIKENESS, POINTS, background_of, probability, proofs
from tests.conftest import QuickExtractor, unit_rows

COUNT = 100


def grouped(
    edges: dict[tuple[int, int], float], descriptors: np.ndarray | None = None
) -> list[Thing]:
    """The things of a graph; descriptors of photos that have nothing in common if left out."""
    rows = np.eye(COUNT) if descriptors is None else descriptors
    values = np.array(list(edges.values()))
    return group(np.array(list(edges)), values, rows, np.full(len(rows), 0.1))


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
    assert found[0].sure == pytest.approx((6 * 0.95 + 6 * 0.9 + 8 * 0.8) / 20)


def test_a_chain_of_strong_edges_stays():
    found = grouped({(0, 1): 0.99, (1, 2): 0.97, (2, 3): 0.95})
    assert members(found) == [[0, 1, 2, 3]] and found[0].sure == pytest.approx(0.97)


def test_doubtful_edges_join_nothing():
    assert grouped({(0, 1): LIKELY - 1e-6, (1, 2): 0.1}) == []
    assert group(np.empty((0, 2), int), np.empty(0), np.eye(3), np.zeros(3)) == []


def test_the_face_has_most_evidence_and_the_largest_thing_comes_first():
    edges = {(5, 9): 0.9, (2, 7): 0.9, (2, 4): 0.95, (4, 7): 0.75}
    assert [thing.ids for thing in grouped(edges)] == [(2, 4, 7), (5, 9)]


def two_views(alike: float) -> np.ndarray:
    """Unit rows (8, 10) of two groups of four, each photo like the others of its group by half, and
    so much above the background like those of the other group.
    """
    cosines = np.full((8, 8), 0.1 + alike)
    for ids in (LEFT, RIGHT):
        cosines[np.ix_(ids, ids)] = 0.5
    np.fill_diagonal(cosines, 1)
    return np.linalg.cholesky(cosines)


@pytest.mark.parametrize(
    ("alike", "bridge", "things"),
    [(ALIKE + 1e-3, 0.55, 1), (ALIKE - 1e-3, 0.55, 2), (ALIKE + 1e-3, LINKED - 1e-3, 2)],
)
def test_two_views_that_look_alike_are_one_thing_if_something_links_them(alike, bridge, things):
    edges = clique(LEFT, 0.95) | clique(RIGHT, 0.9) | {(3, 4): bridge}
    found = grouped(edges, two_views(alike))
    assert members(found) == ([LEFT + RIGHT] if things == 1 else [LEFT, RIGHT])


def slow_groups(edges: dict[tuple[int, int], float], cosines: np.ndarray) -> list[list[int]]:
    """Compares all pairs of groups before each join."""
    groups = [frozenset([id]) for id in sorted({id for pair in edges for id in pair})]
    rules = ["linkage", "likeness"]
    while rules:
        best = 0.0, None
        for one, other in combinations(groups, 2):
            between = [edges.get((min(a, b), max(a, b))) for a in one for b in other]
            known = [value for value in between if value is not None]
            missing = max(0, min(len(between), EXPECTED) - len(known))
            if rules[0] == "linkage":
                worth = sum(known) / (len(known) + DOUBT * missing) if known else 0.0
                allowed = worth >= LIKELY
            else:
                worth = np.mean([cosines[a, b] for a in one for b in other]) - 0.1
                allowed = worth >= ALIKE and sum(known) >= LINKED
            if allowed and worth > best[0]:
                best = worth, (one, other)
        pair = best[1]
        if pair is None:
            rules.pop(0)
        else:
            groups = [one for one in groups if one not in pair] + [pair[0] | pair[1]]
    return sorted((sorted(one) for one in groups if len(one) > 1), key=lambda g: (-len(g), g))


@pytest.mark.parametrize("seed", range(12))
def test_any_graph_is_grouped_as_by_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(16), 2) if rng.random() < 0.3]
    edges = {pair: float(value) for pair, value in zip(pairs, rng.random(len(pairs)) ** 0.3)}
    rows = unit_rows(rng, COUNT, 6, 3)
    expected = slow_groups(edges, rows.astype(float) @ rows.astype(float).T)
    assert sorted(members(grouped(edges, rows)), key=lambda g: (-len(g), g)) == expected
    shuffled = {pairs[i]: edges[pairs[i]] for i in rng.permutation(len(pairs))}
    assert grouped(shuffled, rows) == grouped(edges, rows)
    names = rng.permutation(COUNT)
    renamed = {tuple(sorted((names[a], names[b]))): v for (a, b), v in edges.items()}
    other = grouped(renamed, rows[np.argsort(names)])
    assert {frozenset(t.ids) for t in other} == {frozenset(names[g].tolist()) for g in expected}


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
    background = background_of(sims)
    assert background.tolist() == pytest.approx([0.9, 0.9, 0.5, 0.5]), "of few photos, one in five"
    found["similarity"], found["coverage"], found["matches"] = 0.75, 0.25, [16, 60]
    rows = proofs(found, np.array([[0.25, 0.5], [0.5, 0.75]]))
    assert rows.tolist() == [[0.5, PROVEN / 16, 0.5], [0.5, 0.5, 0.25]]


def test_things_of_the_sample_gallery(gallery):
    found = things(gallery)
    named = [{photo.file for photo in gallery.catalogue.photos_of(t.ids)} for t in found]
    assert {"eiffel-tower.jpg", "eiffel-tower-2.jpg", "tour-eiffel.jpg"} in named
    assert {"colosseum.jpg", "colosseum-2.jpg"} in named
    everything = [id for thing in found for id in thing.ids]
    assert len(everything) == len(set(everything)) and len(found) >= 8
    assert all(LINKED <= thing.sure <= 1 and len(thing.ids) > 1 for thing in found)


def test_damaged_and_removed_photos_are_in_no_thing(small, extractor):
    def files(store: Store) -> set[str]:
        ids = [id for thing in things(store) for id in thing.ids]
        return {photo.file for photo in store.catalogue.photos_of(ids)}

    with Store(small, extractor) as store:
        assert {"colosseum.jpg", "colosseum-2.jpg"} <= files(store)
        store.exclude_photos(np.array([store.catalogue.find("colosseum-2.jpg").id]))
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
