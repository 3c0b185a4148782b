"""The evidence of pairs on disk: found again, appended, damaged, torn, replaced, cut down."""

import numpy as np
import pytest

from index_store.graph.comparisons import (
    FILE_NAME,
    HEAD_BYTES,
    RECORD,
    Comparisons,
    Evidence,
    keep_only,
    pair_keys,
)

NAMES = [f"{number:064x}" for number in range(20)]
MADE_BY = {"sift": {"points": 600}}
PAIRS = np.array([(one, other) for one in range(6) for other in range(one + 1, 6)])


def evidence(count: int, seed: int = 0) -> Evidence:
    rng = np.random.default_rng(seed)
    return Evidence(
        rng.integers(0, 300, count), rng.integers(300, 600, count), rng.random(count, np.float32)
    )


def assert_found(known: Comparisons, pairs: np.ndarray, expected: Evidence) -> None:
    found, held = known.find(pair_keys(NAMES, pairs))
    assert found.all()
    for name in ("inliers", "matches", "coverage"):
        assert np.array_equal(getattr(held, name), getattr(expected, name))


@pytest.fixture
def held(tmp_path):
    """Evidence of PAIRS, on disk."""
    expected = evidence(len(PAIRS))
    known = Comparisons(tmp_path, MADE_BY)
    known.append(pair_keys(NAMES, PAIRS[:4]), Evidence(*(c[:4] for c in vars(expected).values())))
    known.append(pair_keys(NAMES, PAIRS[4:]), Evidence(*(c[4:] for c in vars(expected).values())))
    assert_found(known, PAIRS, expected)
    return expected


def test_a_pair_is_found_again_whichever_photo_comes_first(held, tmp_path):
    known = Comparisons(tmp_path, MADE_BY)
    assert len(known) == len(PAIRS)
    assert_found(known, PAIRS, held)
    assert_found(known, PAIRS[:, ::-1], held)
    found, nothing = known.find(pair_keys(NAMES, np.array([[7, 8], [0, 9]])))
    assert not found.any() and not nothing.inliers.any()


def test_one_damaged_byte_costs_one_pair(held, tmp_path):
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(HEAD_BYTES, len(whole), 60).tolist():
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        known = Comparisons(tmp_path, MADE_BY)
        assert len(known) == len(PAIRS) - 1
        number = (place - HEAD_BYTES) // RECORD.itemsize
        found, _ = known.find(pair_keys(NAMES, PAIRS))
        assert np.array_equal(np.flatnonzero(~found), [number])


@pytest.mark.parametrize("cut", [1, 13, RECORD.itemsize - 1])
def test_a_torn_end_is_cut_off_by_the_next_append(held, tmp_path, cut):
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    known = Comparisons(tmp_path, MADE_BY)
    assert len(known) == len(PAIRS) - 1
    more = np.array([[10, 11]])
    known.append(pair_keys(NAMES, more), evidence(1, 5))
    again = Comparisons(tmp_path, MADE_BY)
    assert len(again) == len(PAIRS)
    assert_found(again, more, evidence(1, 5))
    assert_found(again, PAIRS[:-1], Evidence(*(c[:-1] for c in vars(held).values())))


def test_what_was_made_in_another_way_is_replaced(held, tmp_path):
    other = Comparisons(tmp_path, {"sift": {"points": 300}})
    assert len(other) == 0
    other.append(pair_keys(NAMES, PAIRS[:1]), evidence(1))
    assert len(Comparisons(tmp_path, {"sift": {"points": 300}})) == 1
    assert len(Comparisons(tmp_path, MADE_BY)) == 0


def test_a_link_is_replaced_and_not_written_through(held, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("of the owner")
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).symlink_to(mine)
    known = Comparisons(tmp_path, MADE_BY)
    known.append(pair_keys(NAMES, PAIRS[:1]), evidence(1))
    assert mine.read_text() == "of the owner"
    assert not (tmp_path / FILE_NAME).is_symlink()
    assert len(Comparisons(tmp_path, MADE_BY)) == 1


def test_only_wanted_pairs_are_kept(held, tmp_path):
    keep_only(tmp_path, pair_keys(NAMES, PAIRS[3:7]))
    known = Comparisons(tmp_path, MADE_BY)
    found, _ = known.find(pair_keys(NAMES, PAIRS))
    assert np.array_equal(np.flatnonzero(found), range(3, 7))
    keep_only(tmp_path / "no-store", pair_keys(NAMES, PAIRS))
