"""`make demo` with names of folders that a shell or make itself could misread."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RECORDER = '#!/bin/sh\nprintf "%s\\n" "store=$GEM_STORE" "$@" >> "$RECORD"\n'


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The Makefile beside an environment whose programs only write down what they are asked."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "streamlit"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    (tmp_path / ".venv" / ".serving").touch()
    return tmp_path


def demo(checkout: Path, *settings: str, **environment: str) -> list[str]:
    """Lines that both programs wrote."""
    record = checkout / "record"
    record.unlink(missing_ok=True)
    plain = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    subprocess.run(
        ["make", "demo", *settings],
        cwd=checkout,
        env={**plain, "RECORD": str(record), **environment},
        check=True,
        capture_output=True,
    )
    return record.read_text().splitlines()


def test_the_sample_gallery_has_its_own_store(checkout):
    lines = demo(checkout)
    assert lines[:7] == [
        "store=",
        *"-m index_store build --store stores/gallery --".split(),
    ]
    assert lines[7] == "gallery/photos" and lines[8] == "store=stores/gallery"


@pytest.mark.parametrize(
    "name",
    [
        "Bob's photos",
        "x'; touch pwned; echo '",
        'x"; touch pwned; echo "',
        "$(touch pwned)",
        "$(shell touch pwned)",
        "`touch pwned`",
        "a$b #c\\d",
        "-dash",
    ],
)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_any_name_of_a_folder_reaches_the_build_as_it_is(checkout, name, by):
    lines = demo(checkout, f"PHOTOS={name}") if by == "argument" else demo(checkout, PHOTOS=name)
    assert lines[7] == name and not (checkout / "pwned").exists()
    store = lines[5]
    assert store.startswith("stores/") and store != "stores/gallery"
    assert lines[8] == f"store={store}"
    assert demo(checkout, "PHOTOS=another")[5] != store


def test_a_store_may_be_named(checkout):
    lines = demo(checkout, "PHOTOS=x", "STORE=my 'store'")
    assert lines[5] == "my 'store'" and lines[8] == "store=my 'store'"
