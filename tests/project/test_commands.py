"""How every command ends when its reader goes, when it is interrupted, and when a package is
missing.
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import warnings

import pytest

from command import print_error
from evaluation.__main__ import main as evaluation
from tests.conftest import ROOT

ROOMS = ("search", "index_store", "evaluation", "export", "model")


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | options.pop(
        "env", {}
    )
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def start(room: str) -> int:
    """`python -m ROOM` in this process, whose imports are made already; the exit code."""
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the room has been imported before
        runpy.run_module(room, run_name="__main__")
    return int(ended.value.code)


@pytest.mark.parametrize("room", ROOMS)
def test_a_closed_pipe_is_no_error(room, monkeypatch, capsys):
    """As in `python -m search ... --json | head -1`, when head has ended already."""
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "argv", [room, "--help"])
    with open(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert start(room) == 141
    assert capsys.readouterr().err == ""


def test_a_pipe_that_is_closed_while_a_command_runs_is_no_error(tmp_path):
    """The command's own handling of errors lets it pass."""
    read, write = os.pipe()
    os.close(read)
    ended = run("-u", "-m", "evaluation", "data", stdout=write)
    os.close(write)
    assert ended.stderr == "" and ended.returncode == 141


@pytest.mark.parametrize("room", ROOMS)
def test_an_interrupt_is_one_word(room, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", interrupt)
    assert start(room) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_too_little_memory_is_a_sentence(monkeypatch, capsys):
    def exhaust():
        raise MemoryError

    monkeypatch.setattr("evaluation.data.format_sets", exhaust)
    monkeypatch.setattr(sys, "argv", ["evaluation", "data"])
    assert start("evaluation") == 1
    assert capsys.readouterr().err == "error: not enough memory\n"


@pytest.mark.parametrize("room", ["export", "model"])
def test_without_torch_a_sentence_says_what_to_install(room, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    ended = run("-m", room, "--help", env={"PYTHONPATH": str(tmp_path)})
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: torch is not installed; run: pip install -r requirements-train.txt\n"
    )
    imported = run("-c", f"import {room}", env={"PYTHONPATH": str(tmp_path)})
    assert "ModuleNotFoundError: torch is not installed; run: pip" in imported.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["scale", "--sizes", "0"],
        ["scale", "--sizes", "-3"],
        ["scale", "--dim", "0"],
        ["keypoint-index", "--store", "x", "--queries", "0"],
        ["verification", "--store", "x", "--queries", "0"],
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        evaluation(arguments)
    assert "is not 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--dataset", "groups", "--root", "x"],
        ["models", "gem-resnet101"],
        ["verification", "--store", "x"],
    ],
)
def test_a_seed_is_not_negative(command, capsys):
    with pytest.raises(SystemExit):
        evaluation([*command, "--seed", "-1"])
    assert "is not 0 or more" in capsys.readouterr().err


def test_a_missing_file_is_named_without_a_number(tmp_path, capsys):
    print_error(FileNotFoundError(2, "No such file or directory", str(tmp_path / "x")))
    print_error(OSError("The disk is full."))
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'x'}: No such file or directory\nerror: The disk is full.\n"
    )
