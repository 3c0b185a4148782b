"""The journal of a killed build: nothing damaged goes into a store, nothing sound is lost."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from index_store import Store, StoreCorrupt, StoreUnwritable, build
from index_store.storage.build_journal import Extracted, Journal, from_record, to_record
from tests.conftest import QuickExtractor


def made_photos(count: int) -> dict[str, Extracted]:
    rng = np.random.default_rng(3)
    return {
        f"{i:064x}": Extracted(
            descriptor=rng.normal(size=16).astype(np.float16),
            size=(100 + i, 200),
            thumbnail=rng.bytes(300),
            features=rng.bytes(400) if i % 3 else b"",
        )
        for i in range(count)
    }


def equal(a: Extracted, b: Extracted) -> bool:
    same = (a.size, a.thumbnail, a.features) == (b.size, b.thumbnail, b.features)
    return same and a.descriptor.tobytes() == b.descriptor.tobytes()


def written(path, photos) -> bytes:
    """The journal's file with these photos."""
    journal = Journal(path, "model")
    for sha256, photo in photos.items():
        journal[sha256] = photo
    journal.close()
    return path.read_bytes()


def test_a_journal_gives_back_what_it_took(tmp_path):
    photos = made_photos(20)
    written(tmp_path / "journal", photos)
    journal = Journal(tmp_path / "journal", "model")
    assert journal.finished() == photos.keys() and "f" * 64 not in journal
    for sha256, photo in photos.items():
        assert equal(journal[sha256], photo)
    journal.close()
    other = Journal(tmp_path / "journal", "another model")
    assert not other.finished()
    other.close()


def test_every_flipped_bit_of_a_record_is_noticed():
    (sha256, photo), *_ = made_photos(1).items()
    record = to_record(sha256, photo)
    assert from_record(record)[0] == sha256
    for bit in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            from_record(bytes(flipped))
    for length in range(len(record)):
        with pytest.raises(ValueError):
            from_record(record[:length])


def test_no_flipped_bit_of_the_file_changes_a_photo(tmp_path):
    """One bit, anywhere in the file: each photo comes out as it went in, or not at all."""
    photos = made_photos(12)
    whole = written(tmp_path / "journal", photos)
    rng, kept = np.random.default_rng(4), []
    # Every byte of the header, the rest by chance.
    bits = [*range(0, 120 * 8, 8), *rng.integers(len(whole) * 8, size=150).tolist()]
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "journal").write_bytes(flipped)
        journal = Journal(tmp_path / "journal", "model")
        for sha256 in journal.finished():
            assert equal(journal[sha256], photos[sha256])
        kept.append(len(journal.finished()))
        journal.close()
    assert np.mean([count >= 11 for count in kept[120:]]) > 0.6, "one record, not the whole journal"


def test_damage_while_the_build_runs_is_a_sentence(tmp_path):
    photos = made_photos(3)
    written(tmp_path / "journal", photos)
    journal = Journal(tmp_path / "journal", "model")
    with sqlite3.connect(tmp_path / "journal") as db:
        db.execute("UPDATE photos SET record = zeroblob(500) WHERE id = 2")
    db.close()
    first, second, _ = photos
    assert equal(journal[first], photos[first])
    with pytest.raises(StoreCorrupt, match="Run the same build again"):
        journal[second]
    journal.close()
    assert len(Journal(tmp_path / "journal", "model").finished()) == 2


def interrupted(photos, store, after=5):
    extractor = QuickExtractor()
    extractor.stop_after = after
    with pytest.raises(KeyboardInterrupt):
        build(photos, store, extractor)


def test_a_flipped_bit_does_not_reach_the_store(photos, tmp_path, one_worker):
    build(photos, tmp_path / "clean", QuickExtractor())
    clean = Store(tmp_path / "clean")
    interrupted(photos, tmp_path / "s", 6)
    path = tmp_path / "s" / "extracted.sqlite"
    data = bytearray(path.read_bytes())
    at = data.index(clean.descriptors[2].tobytes())  # as it lies in the journal
    data[at + 10] ^= 4
    path.write_bytes(data)
    again = QuickExtractor()
    build(photos, tmp_path / "s", again)
    assert again.described == 12 - 6 + 1, "the damaged one is described again"
    with Store(tmp_path / "s") as store:
        np.testing.assert_array_equal(store.descriptors, clean.descriptors)
        for id in range(12):
            assert store.thumbnail(id) == clean.thumbnail(id)
            assert store.stored_features(id) == clean.stored_features(id)


def test_a_locked_journal_is_not_thrown_away(photos, tmp_path, one_worker):
    interrupted(photos, tmp_path / "s")
    other = sqlite3.connect(tmp_path / "s" / "extracted.sqlite")
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnwritable, match="locked"):
        build(photos, tmp_path / "s", QuickExtractor())
    other.rollback()
    other.close()
    again = QuickExtractor()
    build(photos, tmp_path / "s", again)
    assert again.described == 7
