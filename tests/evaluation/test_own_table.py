"""The project's own table: README, measurements and docs/results.json say the same."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest

from evaluation.__main__ import main
from evaluation.datasets.groups import of_groups
from evaluation.metrics.bootstrap import Estimate
from evaluation.models import ModelRow
from evaluation.report import conditions as module
from evaluation.report import figures
from evaluation.report.conditions import Conditions, commit, conditions
from evaluation.report.figures import (
    BEGIN,
    END,
    RESULTS,
    TABLES,
    Figure,
    Figures,
    format_figures,
    insert,
    merged,
    read_figures,
)
from evaluation.report.results import BadResults
from tests.conftest import FEW_PHOTOS

STAGES = ("rerank off", "diffusion", "SIFT", "diffusion + SIFT")
HERE = Conditions("0123456789ab", "2026-11-30", "a processor", 2, "onnxruntime")


def figure(photos: str, model: str = "net", mean: float = 0.5, here: Conditions = HERE) -> Figure:
    maps = {stage: Estimate(mean, mean - 0.1, mean + 0.1) for stage in STAGES}
    return Figure(ModelRow(model, photos, 512, 320, 49.4, 78.2, maps), here, 0)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_the_documents_show_the_results_file(path):
    document = path.read_text("utf-8")
    assert insert(format_figures(read_figures(RESULTS)), document, path.name) == document, (
        "run: python -m evaluation figures --tables"
    )


def test_every_figure_carries_its_conditions():
    found = read_figures(RESULTS).figures
    assert found
    for one in found:
        assert len(one.conditions.commit) >= 12 and one.conditions.threads >= 1
        assert one.conditions.date[:2] == "20" and one.conditions.processor
        assert one.conditions.engine and set(one.row.maps) == set(STAGES)
        assert str(one.conditions) in (TABLES[0].read_text("utf-8"))


def test_a_changed_number_shows():
    one, other = (format_figures(Figures([figure("gallery", mean=mean)])) for mean in (0.5, 0.501))
    assert one != other and "0.501 [0.401, 0.601]" in other
    assert "commit 0123456789ab, 2026-11-30, a processor, 2 threads, onnxruntime" in one


def test_figures_of_several_days_name_their_rows():
    later = dataclasses.replace(HERE, date="2026-12-01", threads=1)
    text = format_figures(Figures([figure("gallery"), figure("things", here=later)]))
    assert "gallery, net: commit 0123456789ab, 2026-11-30, a processor, 2 threads" in text
    assert "things, net: commit 0123456789ab, 2026-12-01, a processor, 1 thread, " in text


def test_new_rows_take_the_place_of_old_ones():
    old = [figure("things"), figure("gallery", "b"), figure("gallery", "a")]
    new = [figure("gallery", "b", 0.7), figure("landmarks")]
    found = [(one.key, one.row.maps["SIFT"].mean) for one in merged(old, new)]
    assert found == [
        (("gallery", "b"), 0.7),
        (("gallery", "a"), 0.5),
        (("landmarks", "net"), 0.5),
        (("things", "net"), 0.5),
    ]


@pytest.mark.parametrize("document", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_marks_that_are_missing_or_twice_are_an_error(document):
    with pytest.raises(BadResults, match="page.md needs the lines"):
        insert("table", document, "page.md")


def test_damaged_results_are_an_error(tmp_path):
    path = tmp_path / "results.json"
    assert read_figures(path) == Figures([])
    path.write_text("{")
    with pytest.raises(BadResults, match="holds no figures"):
        read_figures(path)
    path.write_text(json.dumps({"figures": [], "schema": 9}))
    with pytest.raises(BadResults, match="has schema 9"):
        read_figures(path)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Results and documents that a test may write."""
    documents = tmp_path / "README.md", tmp_path / "page.md"
    for path in documents:
        path.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(figures, "TABLES", documents)
    monkeypatch.chdir(tmp_path)
    return documents


def test_one_command_measures_and_writes_everything(
    elsewhere, photos, tmp_path, monkeypatch, capsys
):
    groups = {"Taj": FEW_PHOTOS[:3], "Colosseum": FEW_PHOTOS[3:5], "Gate": FEW_PHOTOS[5:7]}
    benchmark = of_groups("gallery", photos, sorted(FEW_PHOTOS), groups)
    monkeypatch.setattr(figures, "get_dataset", lambda *_: benchmark)
    command = ["figures", "--sets", "gallery", "--models", "efficientnet-lite2"]
    assert main([*command, "--stores", str(tmp_path / "stores")]) == 0
    printed = capsys.readouterr().out
    (one,) = read_figures(tmp_path / "results.json").figures
    assert one.key == ("gallery", "efficientnet-lite2") and one.conditions == conditions(
        "onnxruntime"
    )
    assert 0.5 < one.row.maps["rerank off"].mean <= 1
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")
    for path in elsewhere:
        text = path.read_text()
        assert text.startswith("before\n\n") and text.endswith("\n\nafter\n") and "old" not in text
        assert format_figures(Figures([one])) in text
    assert format_figures(Figures([one])) in printed
    elsewhere[0].write_text(f"{BEGIN}{END}")
    assert main(["figures", "--tables"]) == 0
    assert format_figures(Figures([one])) in elsewhere[0].read_text()


def test_nothing_is_written_where_a_document_has_no_marks(elsewhere, tmp_path, capsys):
    elsewhere[1].write_text("no marks")
    before = elsewhere[0].read_text()
    assert main(["figures", "--tables"]) == 1
    assert "page.md needs the lines" in capsys.readouterr().err
    assert elsewhere[0].read_text() == before and not (tmp_path / "results.json").exists()


def test_the_commit_says_whether_the_code_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert commit() == "unknown"
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "code.py", "docs/page.md"):
        (tmp_path / name).write_text("1")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    head = module.git("rev-parse", "HEAD")
    (tmp_path / "docs" / "page.md").write_text("2")
    (tmp_path / "README.md").write_text("2")
    assert commit() == head[:12]
    (tmp_path / "code.py").write_text("2")
    assert commit() == head[:12] + "+"
