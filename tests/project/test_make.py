"""`make demo` with names of folders that a shell or make itself could misread."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RECORDER = '#!/bin/sh\nprintf "%s\\n" "call" "store=$GEM_STORE" "$@" >> "$RECORD"\n'


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The Makefile beside an environment whose programs only write down what they are asked."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "streamlit"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    (tmp_path / "requirements-evaluation.txt").touch()
    (tmp_path / "requirements-train.txt").touch()
    for stamp in (".serving", ".figures", ".export"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def demo(checkout: Path, *settings: str, **environment: str) -> tuple[list[list[str]], str]:
    """Arguments of each build, and the value of GEM_STORE that the page is started with."""
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
    *builds, page = record.read_text().split("call\n")[1:]
    served = page.splitlines()[0].removeprefix("store=")
    return [build.splitlines()[1:] for build in builds], served


def test_the_sample_gallery_has_a_store_for_each_model(checkout):
    builds, served = demo(checkout)
    command = "-m index_store build --store stores/gallery --model=gem-resnet101 --index=ivf-pq"
    assert builds[0] == [*command.split(), "--", "gallery/photos"] and len(builds) == 2
    assert served == "stores/gallery:stores/gallery-efficientnet-lite2"
    assert [build[4] for build in builds] == served.split(":")


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
@pytest.mark.parametrize("variable", ["PHOTOS", "MODEL"])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_any_name_reaches_the_build_as_it_is(checkout, name, variable, by):
    setting = {} if by == "argument" else {variable: name}
    arguments = [f"{variable}={name}"] if by == "argument" else []
    ((*_, store, model, _, photos),), served = demo(checkout, *arguments, **setting)
    received = {"PHOTOS": photos, "MODEL": model.removeprefix("--model=")}
    assert received[variable] == name
    assert not (checkout / "pwned").exists()
    assert store.startswith("stores/") and store != "stores/gallery" and served == store
    other, _ = demo(checkout, f"{variable}=another")
    assert other[0][4] != store


def test_a_store_may_be_named(checkout):
    builds, served = demo(checkout, "PHOTOS=x", "STORE=my 'store'")
    assert builds[0][4] == served == "my 'store'"


@pytest.mark.parametrize(
    "name, file",
    [
        ("gl18-resnet101", "gl18-resnet101"),
        ("timm:vit_base.x/y", "timm-vit_base.x-y"),
        ("imagenet-'; touch pwned; echo '", "imagenet-'; touch pwned; echo '"),
    ],
)
def test_a_published_network_is_exported_once(checkout, name, file):
    path = f"downloads/models/{file}.onnx"
    (export, build), served = demo(checkout, f"MODEL={name}")
    assert export == ["-m", "export", "--out", path, "--", name]
    assert build[-3:] == [f"--model={path}", "--", "gallery/photos"]
    assert served == build[4] == f"stores/gallery-{file}"
    assert not (checkout / "pwned").exists()
    (checkout / path).parent.mkdir(parents=True)
    (checkout / path).touch()
    (again,), _ = demo(checkout, f"MODEL={name}")
    assert again == build


def test_figures_are_one_command(checkout):
    record = checkout / "record"
    environment = {"PATH": os.environ["PATH"], "RECORD": str(record)}
    subprocess.run(
        ["make", "figures"], cwd=checkout, env=environment, check=True, capture_output=True
    )
    assert record.read_text().splitlines()[2:] == ["-m", "evaluation", "figures"]
