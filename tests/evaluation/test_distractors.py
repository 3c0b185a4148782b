"""A benchmark's photos hidden among others."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from evaluation.__main__ import main
from tests.conftest import GALLERY


@pytest.fixture
def arguments(tmp_path):
    for folder, names in (
        ("set", ("taj-mahal", "taj-mahal-2", "colosseum", "colosseum-2")),
        ("others", ("dune", "igloo", "wine")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(GALLERY / f"{name}.jpg", tmp_path / folder)
    groups = {name: [f"{name}.jpg", f"{name}-2.jpg"] for name in ("taj-mahal", "colosseum")}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    return [
        *("run", "--dataset", "groups", "--root", str(tmp_path / "set")),
        *("--groups", str(tmp_path / "groups.json")),
        *("--distractors", str(tmp_path / "others"), "--sizes", "0", "2", "9"),
    ]


def test_every_size_has_a_row_and_the_largest_is_all_there_are(arguments, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "x.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert [line.split(":")[0] for line in lines if "of neighbours compared" in line] == [
        "Among 0 others", "Among 2 others", "Among 3 others",
    ]  # fmt: skip
    assert re.match(r"Build of the largest: photos \d+ s, .*matching \d+ s", lines[-1])
    assert [row.split("|")[1].strip() for row in table[2:]] == ["0", "2", "3"]
    links = sorted((tmp_path / "x.hidden" / "gallery" / "distractors").iterdir())
    assert not links  # the smallest gallery came last
    assert sorted(p.name for p in (tmp_path / "others").iterdir()) == [
        "dune.jpg", "igloo.jpg", "wine.jpg",
    ]  # fmt: skip


def test_without_a_place_for_the_stores_it_is_refused(arguments, capsys):
    assert main(arguments) == 1
    assert "--distractors needs --out" in capsys.readouterr().err
