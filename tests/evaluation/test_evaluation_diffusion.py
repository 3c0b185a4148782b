"""The diffusion benchmark: its baseline, its yardstick and its tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.studies.retrieval.published_diffusion import (
    laplacian,
    nearest_of,
    published_graph,
    published_row,
    synthetic_descriptors,
)
from evaluation.studies.speed import offline_speed as diffusion_speed
from evaluation.studies.speed.diffusion_cost import measure_cuts, query_ms, write_synthetic_rows
from extractor import DEFAULT_MODEL
from index_store import Store
from index_store.graph import affinity
from index_store.graph.neighbours import exact_neighbours
from search import Engine
from search.rerank.diffusion import diffuse

GROUPS = {
    "taj": ["taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"],
    "colosseum": ["colosseum.jpg", "colosseum-2.jpg"],
}


@pytest.fixture(scope="module")
def made() -> np.ndarray:
    return synthetic_descriptors(500, 32, seed=3)


def test_made_descriptors_are_unit_rows_with_neighbours(made):
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(made, synthetic_descriptors(500, 32, seed=3))
    sims = np.sort(made @ made.T, axis=1)
    assert np.median(sims[:, -2]) > np.median(sims) + 0.1


def test_published_graph_equals_its_definition(made):
    ids, sims = exact_neighbours(made, 9)
    near = np.zeros((500, 500), bool)
    np.put_along_axis(near, ids[:, 1:].astype(int), True, 1)
    weights = np.where(near & near.T, np.maximum(made @ made.T, 0).astype(float) ** 3, 0)
    scale = np.sqrt(weights.sum(1) + 1e-12)
    np.testing.assert_allclose(
        published_graph(ids, sims).toarray(), weights / scale[:, None] / scale, atol=1e-5
    )


def test_baseline_solves_each_row_on_its_nearest(made):
    ids, sims = exact_neighbours(made, 11)
    walk = published_graph(ids, sims)
    photos = np.array([4, 77])
    nearest = nearest_of(made, photos, 60, batch=1)
    exact = np.argsort(-(made[photos] @ made.T), axis=1)[:, :60]
    assert (nearest[:, 0] == photos).all() and (np.sort(nearest) == np.sort(exact)).all()
    for near in nearest:
        local = np.eye(60) - 0.8 * walk.toarray()[np.ix_(near, near)]
        row = published_row(laplacian(walk, 0.8), near)
        np.testing.assert_allclose(row, np.linalg.inv(local)[0], rtol=1e-3, atol=1e-5)


def test_shares_of_mass_are_those_of_the_inverse(made, monkeypatch):
    """500 photos fit into one region: blocks have all the mass; the baseline has what its truncated
    systems have.
    """
    monkeypatch.setattr(diffusion_speed, "SAMPLE", 40)
    monkeypatch.setattr(diffusion_speed, "ROUNDS", 1)
    monkeypatch.setattr(diffusion_speed, "TRUNCATION", 60)
    walk = affinity.neighbour_graph(*exact_neighbours(made, 51))
    speed = diffusion_speed.measure_rows(made, walk, 0.9)
    system = np.eye(500) - 0.9 * walk.toarray()
    whole = np.linalg.inv(system).sum(1)
    sample = np.random.default_rng(1).permutation(500)[:40]
    alone = [
        np.linalg.inv(system[np.ix_(near, near)])[0].sum() for near in nearest_of(made, sample, 60)
    ]
    np.testing.assert_allclose(speed.share, 1, atol=1e-4)
    np.testing.assert_allclose(speed.published_share, alone / whole[sample], atol=1e-3)
    assert (
        (speed.kept_share < speed.share + 1e-3).all() and speed.published > 0 and speed.blocks > 0
    )
    assert diffusion_speed.speed_row("graph", speed)[-1].startswith("100.0%")


def test_the_published_graph_is_called_by_the_length_of_its_lists(monkeypatch):
    """The published code counts the photo itself, too."""
    graphs = []

    def measured(descriptors, walk, alpha):
        graphs.append(walk)
        ones = np.ones(3)
        return diffusion_speed.Speed(1.0, 1.0, 1.0, ones, ones, ones)

    monkeypatch.setattr(diffusion_speed, "measure_rows", measured)
    *_, row = diffusion_speed.speed_rows(200, 16)
    assert row[0].startswith("the 51 nearest with the photo itself")
    assert (graphs[-1].indptr[1:] - graphs[-1].indptr[:-1]).max() <= 50


def test_made_rows_are_as_a_store_has_them(tmp_path):
    ids, values = write_synthetic_rows(tmp_path, 50, 7, batch=20)
    assert (
        ids.dtype == np.int32
        and values.dtype == np.float16
        and ids.shape == values.shape == (50, 7)
    )
    assert (
        (ids[:, 0] == np.arange(50)).all()
        and ids.min() >= 0
        and ids.max() < 50
        and (np.diff(values) < 0).all()
    )
    assert (query_ms(ids, values, 5, queries=3) > 0).all()
    assert len(diffuse(ids[:3], values[:3], np.ones(3, np.float32))[0]) <= 21
    with pytest.raises(OSError, match="GB"):
        write_synthetic_rows(tmp_path, 10**12, 300)


def test_cuts_are_measured_with_the_rows_they_name(small_built, extractor):
    store = Store(small_built / "store", extractor)
    short, whole = measure_cuts(store, extractor, GROUPS, [12, 2])
    assert (short.kept, whole.kept, short.bytes, whole.bytes) == (2, 12, 12, 72)
    assert 0 < short.mass < whole.mass == pytest.approx(1, abs=2e-3)
    precisions = []
    for files in GROUPS.values():
        engine, wanted = Engine(store, extractor), []
        for file in files:
            hits = [
                hit.file
                for hit in engine.search(
                    engine.prepare(store.catalogue.find(file).id), rerank="diffusion", k=12
                ).hits
            ]
            ranks = sorted(hits.index(other) + 1 for other in files if other != file)
            wanted.append(np.mean([(i + 1) / rank for i, rank in enumerate(ranks)]))
        precisions.append(np.mean(wanted))
    assert whole.map == pytest.approx(np.mean(precisions))


def test_command_prints_and_writes_the_cuts(small_built, tmp_path, capsys):
    groups, found = tmp_path / "groups.json", tmp_path / "cuts.json"
    groups.write_text(json.dumps(GROUPS))
    store = str(small_built / "store")
    options = ["--store", store, "--groups", str(groups), "--cuts", "2", "12", "--json", str(found)]
    assert main(["diffusion", *options, "--model", str(DEFAULT_MODEL)]) == 0
    printed = capsys.readouterr().out
    assert "threads" in printed and "share of mass" in printed
    assert [cut["kept"] for cut in json.loads(found.read_text())] == [2, 12]
    assert main(["diffusion", "--store", store]) == 1
    assert "go together" in capsys.readouterr().err
