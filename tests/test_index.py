"""The index against flat search."""

from __future__ import annotations

import numpy as np
import pytest

from index_store import ann
from index_store.ann import choose_parameters
from tests.conftest import unit_rows


@pytest.mark.parametrize("count", [1, 2, 38, 39, 310, 5_000, 100_000, 1_000_000])
def test_never_more_lists_or_codes_than_the_data_can_train(count):
    chosen = choose_parameters(count, 512)
    trainable = max(1, count // 39)
    assert 1 <= chosen.nlist <= trainable and 1 <= chosen.bits <= 8
    assert 2**chosen.bits <= max(2, trainable)
    assert 512 % chosen.codes == 0 and 1 <= chosen.nprobe <= chosen.nlist


def test_large_galleries_get_full_codes():
    assert choose_parameters(1_000_000, 512).factory == "IVF2048,PQ64x8np"
    assert choose_parameters(310, 512).factory == "IVF4,PQ64x2np"
    assert choose_parameters(500, 7).codes == 1


@pytest.mark.parametrize("count", [1, 3, 50])
def test_tiny_galleries_have_an_index(rng, tmp_path, count):
    rows = unit_rows(rng, count, 32, 4)
    chosen = choose_parameters(count, 32)
    ann.save_index(ann.build_index(rows, chosen), tmp_path / "index")
    index = ann.load_index(tmp_path / "index", chosen, count, 32)
    assert sorted(ann.candidate_ids(index, rows[0], 1000)) == list(range(count))


def test_shortlist_with_rescoring_equals_flat_search(rng):
    """The best 10 come out as in flat search.

    The candidates are much fewer than the gallery, and only some of the lists are probed.
    """
    rows = unit_rows(rng, 12_000, 64, 300)
    queries = unit_rows(np.random.default_rng(8), 0, 64, 1)
    queries = rows[rng.integers(len(rows), size=100)] + 0.03 * rng.normal(size=(100, 64)).astype(
        np.float32
    )
    chosen = choose_parameters(*rows.shape)
    assert chosen.nprobe < chosen.nlist
    index = ann.build_index(rows, chosen)
    found = 0
    for query in queries:
        exact = np.argsort(-(rows @ query))[:10]
        ids = ann.candidate_ids(index, query, 500)
        assert len(ids) == 500 == len(set(ids))
        rescored = ids[np.argsort(-(rows[ids] @ query))][:10]
        found += len(np.intersect1d(exact, rescored))
    assert found >= 0.97 * 1000


def test_damaged_index_parameters_are_noticed(rng, tmp_path):
    rows = unit_rows(rng, 400, 32, 8)
    chosen = choose_parameters(400, 32)
    ann.save_index(ann.build_index(rows, chosen), tmp_path / "index")
    with pytest.raises(ValueError, match="expected"):
        ann.load_index(tmp_path / "index", chosen, 401, 32)


def test_exact_knn_equals_numpy(rng):
    rows = unit_rows(rng, 300, 24, 10)
    ids, sims = ann.exact_knn(rows, 15)
    exact = np.sort(rows @ rows.T, axis=1)[:, ::-1][:, :15]
    np.testing.assert_allclose(sims, exact, atol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(rows @ rows.T, ids.astype(int), 1), exact, atol=1e-5
    )
