"""Metrics worked by hand, and the promise that no toggle makes the sample gallery worse."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.groups import BadGroups, evaluate_groups, read_groups
from evaluation.metrics import average_precision, mean_average_precision, recall_at_1

from .conftest import ROOT

GROUPS = ROOT / "gallery" / "groups.json"


@pytest.mark.parametrize(
    "ranking, positives, expected",
    [
        ([1, 2, 3, 4], {1, 2}, 1.0),
        ([9, 1, 8, 2], {1, 2}, (1 / 2 + 2 / 4) / 2),
        ([9, 8, 1], {1}, 1 / 3),
        ([1, 9, 8], {1, 2}, 1 / 2),  # the second positive was not returned
        ([9, 8, 7], {1, 2}, 0.0),
        ([], {1}, 0.0),
        ([1, 9, 2, 8, 3], {1, 2, 3}, (1 + 2 / 3 + 3 / 5) / 3),
    ],
)
def test_average_precision_by_hand(ranking, positives, expected):
    assert average_precision(ranking, positives) == pytest.approx(expected)


def test_recall_at_1():
    assert recall_at_1([4, 1], {4}) == 1.0 and recall_at_1([1, 4], {4}) == 0.0 and recall_at_1([], {4}) == 0.0
    with pytest.raises(ValueError):
        average_precision([1], set())


def test_mean_average_precision_by_hand():
    x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.6, 0.4]])
    # Query 0: 1 first. Query 1: 0 first (0.9), then 3 (0.58). Query 2: 3 first, then 1. Query 3: 0 (0.6), 1 (0.58), 2.
    assert mean_average_precision(x, [[0, 1], [2, 3]]) == pytest.approx((1 + (1 + 1 / 3) / 2) / 2)


@pytest.fixture(scope="module")
def results(engine):
    return {r.method: r for r in evaluate_groups(engine, read_groups(GROUPS, engine.store))}


def test_no_toggle_lowers_the_sample_gallery(results):
    off = results["rerank off"].all.map
    assert off > 0.55
    for method in ("diffusion", "SIFT", "diffusion + SIFT"):
        assert results[method].all.map >= off, method
    assert results["diffusion + SIFT"].all.map >= max(results["diffusion"].all.map, results["SIFT"].all.map)


def test_groups_count_equally(results):
    off = results["rerank off"]
    assert off.all.groups == 13 and off.all.queries == 28 and off.many is None
    assert off.all.map == pytest.approx(sum(off.group_map.values()) / 13)
    assert off.few == off.all


def test_near_identical_groups_are_perfect(results):
    for method in results.values():
        for name in (
            "Neuschwanstein Castle",
            "Brandenburg Gate",
            "Colosseum",
            "Mount Rushmore",
            "Great Pyramid of Giza",
        ):
            assert method.group_map[name] == 1.0, (method.method, name)


def test_command_prints_the_table(gallery_path, tmp_path, capsys):
    two = {"Taj": ["taj-mahal.jpg", "taj-mahal-2.jpg"], "Tower": ["eiffel-tower.jpg", "eiffel-tower-2.jpg"]}
    (tmp_path / "groups.json").write_text(json.dumps(two))
    arguments = ["groups", "--store", str(gallery_path), "--groups", str(tmp_path / "groups.json")]
    assert main([*arguments, "--by-group"]) == 0
    printed = capsys.readouterr().out
    assert "all groups (2)" in printed and "many-view (0)" in printed and "Tower (  2)" in printed
    for method in ("rerank off", "diffusion", "SIFT", "diffusion + SIFT"):
        assert f"| {method} " in printed


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("{", "cannot be read"),
        ("[1]", "it must be"),
        ('{"a": ["taj-mahal.jpg"]}', "at least two photos"),
        ('{"a": ["taj-mahal.jpg", "taj-mahal.jpg"]}', "each named once"),
        ('{"a": ["taj-mahal.jpg", "other.jpg"]}', "'other.jpg', which is not in the store"),
        ("{}", "names no groups"),
    ],
)
def test_bad_groups_files(gallery, tmp_path, text, sentence):
    (tmp_path / "groups.json").write_text(text)
    with pytest.raises(BadGroups, match=sentence):
        read_groups(tmp_path / "groups.json", gallery)
