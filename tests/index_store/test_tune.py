"""All forms of index measured on a gallery, and the choice written into its store."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from index_store import Store, build
from index_store.__main__ import main
from index_store.ann import nearest
from index_store.ann.pareto import on_front
from index_store.ann.tune import choose, measure, try_presets
from tests.conftest import QuickExtractor, unit_rows


def test_the_front_is_what_nothing_beats():
    recall = np.array([0.9, 0.9, 0.95, 0.5, 0.95])
    speed = np.array([10.0, 12.0, 5.0, 11.0, 5.0])
    assert on_front(recall, speed).tolist() == [False, True, True, False, True]


def test_recall_counts_the_exact_ten_and_the_nearest_among_the_first_ten():
    truth = np.arange(10)[None].repeat(4, 0)
    answers = iter([truth[0]] * 4 + [truth[0], truth[0][::-1], np.arange(5, 15), np.arange(10, 20)])
    ten, one, ms = measure(lambda query: next(answers), np.zeros((4, 3), np.float32), truth)
    assert (ten, one) == (0.625, 0.5) and ms > 0


@pytest.fixture(scope="module")
def trials():
    rows = unit_rows(np.random.default_rng(3), 2_500, 32, 100).astype(np.float16)
    return try_presets(rows, lambda items, *_: items, ["flat", "ivf-pq", "hnsw-sq"])


def test_queries_are_not_in_the_index_and_flat_search_finds_all(trials):
    flat = [t for t in trials if t.name == "flat"]
    assert [t.rescored for t in flat] == [0, 1000]
    # Half-precision descriptors may swap neighbours that are equally near.
    assert all(t.recall10 > 0.999 and t.recall1 > 0.99 for t in flat)
    assert all(t.bytes == pytest.approx(4 * 32 + 1, abs=0.1) for t in flat)


def test_rescoring_and_effort_raise_the_recall(trials):
    pq = [t for t in trials if t.name == "ivf-pq"]
    alone, rescored = ([t for t in pq if bool(t.rescored) == asked] for asked in (False, True))
    assert [t.effort for t in alone] == [2**i for i in range(len(alone))]
    assert all(b.recall10 > a.recall10 + 0.05 for a, b in zip(alone[-2:], rescored[-2:]))
    assert rescored[-1].recall10 > rescored[0].recall10 + 0.05


def test_the_choice_is_the_fastest_that_finds_enough(trials):
    best = choose(trials, 0.95, float("inf"))
    enough = [t for t in trials if t.rescored and t.recall10 >= 0.95]
    assert best.speed == max(t.speed for t in enough)
    small = choose(trials, 0.95, 40)
    assert small.bytes <= 40 and small.name == "ivf-pq"
    assert choose(trials, 0.95, 1) is None


def test_tuning_changes_the_index_and_nothing_else(photos, tmp_path, capsys):
    store = tmp_path / "store"
    build(photos, store, QuickExtractor())
    with Store(store) as before:
        names = set(before.manifest.artefacts)
        kept = {n: before.manifest.artefacts[n] for n in names - {"index.faiss"}}
        version = before.version
    plot = tmp_path / "front.png"
    command = ["tune", "--store", str(store), "--recall", "0.9", "--plot", str(plot)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "chosen: " in printed and "recall 10@10" in printed and "opq-ivf-pq4" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    with Store(store, QuickExtractor()) as after:
        assert after.version != version
        assert {n: after.manifest.artefacts[n] for n in kept} == kept
        chosen = after.manifest.parameters["ann"]
        assert f"chosen: {chosen['preset']}" in printed
        row = np.asarray(after.descriptors[2], np.float32)
        assert 2 in nearest.candidate_ids(after.index, row, 5)
        size = (store / "generations" / after.generation / "index.faiss").stat().st_size
        assert size == after.manifest.artefacts["index.faiss"]["bytes"]
    extractor = QuickExtractor()
    build(photos, store, extractor)
    with Store(store) as again:
        assert extractor.described == 0 and again.manifest.parameters["ann"] == chosen


def test_a_recall_that_nothing_reaches_leaves_the_store_as_it_was(photos, tmp_path, capsys):
    store = tmp_path / "store"
    build(photos, store, QuickExtractor())
    pointer = hashlib.sha256((store / "CURRENT").read_bytes()).hexdigest()
    assert main(["tune", "--store", str(store), "--recall", "0.9", "--bytes", "1"]) == 0
    assert "the store is unchanged" in capsys.readouterr().out
    assert hashlib.sha256((store / "CURRENT").read_bytes()).hexdigest() == pointer
