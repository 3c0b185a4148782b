"""The matching graph of a store: against direct comparison, through changes, kills and damage."""

import shutil

import numpy as np
import pytest

from extractor import LocalFeatures
from index_store import Store, StoreCorrupt, add, build, compact, remove, update
from index_store.__main__ import main
from index_store.graph import matching_graph
from index_store.graph.comparisons import FILE_NAME, Comparisons, Evidence
from index_store.graph.matching_graph import EDGES, NEAREST, PROVEN, best_edges, unique_pairs
from matching import verification
from matching.verification import verify
from search import Engine
from tests.conftest import FEW_PHOTOS, GALLERY


def edges_by_name(store: Store) -> dict[tuple[str, str], tuple[int, int, float]]:
    """Inliers, matches and coverage of each pair, by the photos' files."""
    files = [photo.file for photo in store.catalogue.photos()]
    found = {}
    for id, row in enumerate(store.edges):
        for edge in row[row["id"] >= 0]:
            evidence = int(edge["inliers"]), int(edge["matches"]), float(edge["coverage"])
            pair = tuple(sorted((files[id], files[int(edge["id"])])))
            assert found.setdefault(pair, evidence) == evidence
    return found


@pytest.fixture
def counted(monkeypatch):
    """The pairs that are compared from now on, one call a pair."""
    calls = []

    def counting(query: LocalFeatures, hit: LocalFeatures):
        calls.append((query, hit))
        return verify(query, hit)

    monkeypatch.setattr(matching_graph, "verify", counting)
    return calls


def test_edges_are_what_a_direct_comparison_finds(gallery):
    shas = [photo.sha256 for photo in gallery.catalogue.photos()]
    proven = 0
    matched = np.flatnonzero((gallery.edges["inliers"] >= PROVEN).any(1))
    for id in matched[::2].tolist():
        for edge in gallery.edges[id]:
            other = int(edge["id"])
            if other < 0:
                continue
            query, hit = sorted((id, other), key=lambda one: shas[one])
            found = verify(gallery.local_features(query), gallery.local_features(hit))
            assert (edge["inliers"], edge["matches"]) == (found.inliers, found.matches)
            assert edge["coverage"] == np.float16(found.coverage)
            one, two = gallery.descriptors[[id, other]].astype(np.float32)
            assert edge["similarity"] == pytest.approx(one @ two, abs=1e-3)
            proven += found.inliers >= PROVEN
    assert proven > 10


def test_every_edge_is_seen_from_both_ends_and_most_evidence_comes_first(gallery):
    edges, ids = gallery.edges, np.arange(len(gallery))
    assert edges.shape == (len(gallery), EDGES)
    assert (edges["id"] < len(gallery)).all() and not (edges["id"] == ids[:, None]).any()
    assert (np.diff(edges["inliers"].astype(int), axis=1) <= 0).all()
    full = (edges["id"] >= 0).all(1)
    for id in ids[~full].tolist():
        for other in edges["id"][id][edges["id"][id] >= 0].tolist():
            assert id in edges["id"][other] or full[other]


def test_the_nearest_photos_are_compared(gallery):
    """All pairs of two photos whose similarity stands out are in the graph."""
    near = matching_graph.near_pairs(
        matching_graph.Gallery(
            gallery.rows, gallery.lists, gallery.list_sims, gallery.keypoints, gallery.marks
        )
    )
    assert len(near) > 300 and np.bincount(near[:, 0]).max() <= NEAREST
    full = (gallery.edges["id"] >= 0).all(1)
    for one, other in near[::13].tolist():
        assert other in gallery.edges["id"][one] or full[one]


def test_a_rebuild_compares_nothing_again(photos, tmp_path, extractor, counted):
    store = tmp_path / "store"
    build(photos, store, extractor)
    first = len(counted)
    with Store(store) as built:
        expected = edges_by_name(built)
    assert first >= len(expected) > 10
    build(photos, store, extractor, index="hnsw")
    assert len(counted) == first
    with Store(store) as again:
        assert edges_by_name(again) == expected
    (store / FILE_NAME).write_bytes(b"damaged")
    build(photos, store, extractor, index="flat")
    assert len(counted) == 2 * first
    with Store(store) as again:
        assert edges_by_name(again) == expected


def test_additions_and_removals_keep_the_graph(photos, tmp_path, extractor, counted):
    store = tmp_path / "store"
    build(photos, tmp_path / "whole", extractor)
    with Store(tmp_path / "whole") as whole:
        expected = edges_by_name(whole)
    proven = {pair for pair, evidence in expected.items() if evidence[0] >= PROVEN}
    last = min(proven)[1]
    counted.clear()
    shutil.move(photos / last, tmp_path / last)
    build(photos, store, extractor)
    before = len(counted)
    shutil.move(tmp_path / last, photos / last)
    add([photos / last], store, extractor)
    assert 0 < len(counted) - before < before
    with Store(store) as grown:
        found = edges_by_name(grown)
    assert {pair: found.get(pair) for pair in proven} == {pair: expected[pair] for pair in proven}
    assert any(last in pair for pair in proven)
    shared = found.keys() & expected.keys()
    assert all(found[pair] == expected[pair] for pair in shared)

    held = len(counted)
    remove([last], store)
    assert len(counted) == held
    with Store(store) as shrunk:
        assert not any(last in pair for pair in edges_by_name(shrunk))
    sizes = (store / FILE_NAME).stat().st_size
    compact(store)
    assert (store / FILE_NAME).stat().st_size < sizes


def test_a_killed_build_goes_on_where_it_was(photos, tmp_path, extractor, counted, monkeypatch):
    monkeypatch.setattr(matching_graph, "BATCH", 4)
    store, append = tmp_path / "store", Comparisons.append

    def killed(self, keys: np.ndarray, evidence: Evidence) -> None:
        append(self, keys, evidence)
        if len(self) >= 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(Comparisons, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        build(photos, store, extractor)
    assert len(counted) == 12
    monkeypatch.setattr(Comparisons, "append", append)
    build(photos, store, extractor)
    build(photos, tmp_path / "whole", extractor)
    assert len(counted) % 2 == 0  # as many as the whole one in one go
    with Store(store) as one, Store(tmp_path / "whole") as other:
        assert edges_by_name(one) == edges_by_name(other)


def test_other_parameters_compare_again(photos, tmp_path, extractor, counted, monkeypatch):
    store = tmp_path / "store"
    build(photos, store, extractor)
    first = len(counted)
    monkeypatch.setitem(verification.PARAMETERS, "ratio", 0.8)
    build(photos, store, extractor)
    assert len(counted) == 2 * first


def test_without_matching(photos, tmp_path, extractor, counted, capsys):
    store = tmp_path / "store"
    build(photos, store, extractor, matching=False)
    assert not counted and not (store / FILE_NAME).exists()
    with Store(store, extractor) as plain:
        assert plain.edges.shape == (len(plain), 0)
        engine = Engine(plain, extractor)
        found = engine.search(engine.prepare(0), "diffusion", "sift")
        assert "graph" not in found.timings_ms and not any(hit.chain for hit in found.hits)
    shutil.copy(GALLERY / "petra.jpg", photos)
    update(store, extractor)  # stays as it was built
    assert not counted
    assert main(["info", "--store", str(store)]) == 0
    assert "were not compared with each other" in capsys.readouterr().out
    build(photos, store, extractor, matching=True)
    assert counted
    assert main(["info", "--store", str(store)]) == 0
    line = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("matching")
    )
    with Store(store) as compared:
        pairs = edges_by_name(compared)
        proven = [pair for pair, evidence in pairs.items() if evidence[0] >= PROVEN]
        files = {file for pair in proven for file in pair}
    assert line.split(maxsplit=1)[1] == (
        f"{len(pairs)} pairs of neighbours compared, {len(proven)} of them with at least 8 matched "
        f"points; {len(files)} photos with such a neighbour"
    )


def test_a_store_with_edges_of_another_shape_is_refused(small):
    path = small / "generations" / "000001" / "edges.npy"
    np.save(path, np.zeros((len(FEW_PHOTOS), 3), np.int64))
    with pytest.raises(StoreCorrupt, match=r"edges\.npy"):
        Store(small)


def test_a_pair_is_compared_once_and_edges_beyond_the_limit_are_dropped(rng):
    pairs = unique_pairs([np.array([[3, 1], [1, 3]]), np.array([[0, 2], [1, 3]])], 4)
    assert pairs.tolist() == [[0, 2], [1, 3]]
    crowd = np.stack([np.zeros(40, int), np.arange(1, 41)], axis=1)
    evidence = Evidence(rng.permutation(40), np.full(40, 99), np.zeros(40, np.float32))
    edges = best_edges(crowd, evidence, np.zeros(40, np.float32), 41)
    assert edges["inliers"][0].tolist() == list(range(39, 39 - EDGES, -1))
    assert (edges["id"][1:, 0] == 0).all() and (edges["id"][1:, 1:] == -1).all()
