"""What a store costs as it grows: the study goes through all its steps, and shows what it found."""

from __future__ import annotations

import pytest

from evaluation.studies.speed import scale as study
from evaluation.studies.speed.synthetic import lay_out
from index_store import Store


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Costs of two small galleries, all steps done in this process."""
    costs = {}
    for size in (60, 120):
        work = tmp_path_factory.mktemp(str(size))
        lay_out(work / "photos", range(size))
        costs[size] = {}
        for step, run in study.STEPS.items():
            costs[size][step] = {**(run(work, size, 48) or {}), "seconds": size / 10, "MB": 100.0}
        with Store(work / "store") as store:
            assert len(store) == size and not store.rows.unused
    return costs


def test_every_cost_is_in_the_table(found):
    rows = study.cost_rows(found)
    assert rows[0] == ["photos", "60", "120"]
    table = {row[0]: row[1:] for row in rows}
    assert table["build, s (MB)"] == ["6.0 (100)", "12.0 (100)"]
    for line in (
        "build: neighbours, s",
        "build: keypoints, s",
        "query: candidates, ms",
        "query: diffusion, ms",
    ):
        assert all(float(cell) >= 0 for cell in table[line])
    # Thumbnail, 38 bytes of each keypoint and 24 in the index, and what is made of all photos.
    assert all(
        20_000 < int(cell.replace(",", "")) < 60_000 for cell in table["store, bytes a photo"]
    )
    assert all(0.5 < float(cell) <= 1 for cell in table["recall@10 of 100"])
    for first, tenth in zip(table["distance to neighbour 1"], table["distance to neighbour 10"]):
        assert 0 < float(first) < float(tenth) < 2


def test_the_picture_has_three_panels(found, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: drawn.append((self, path)))
    study.draw(found, tmp_path / "scale.png")
    ((figure, path),) = drawn
    assert path == tmp_path / "scale.png"
    times, memory, queries = figure.axes
    curves = {line.get_label(): line for line in times.lines}
    assert "build: neighbours" in curves and "build" not in curves
    assert curves["N log N"].get_ydata()[-1] == 12.0
    assert len(memory.lines) == len(study.STEPS) and len(queries.lines) == 2
    assert list(memory.lines[0].get_xdata()) == [60, 120]
