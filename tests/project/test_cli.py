"""`same-thing COMMAND` does what `python -m ROOM COMMAND` does, from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

import cli
import evaluation.__main__
import export.__main__
import index_store.__main__
import model.__main__
import search.__main__
from tests.conftest import ROOT

ROOMS = {
    "index_store": index_store.__main__,
    "search": search.__main__,
    "export": export.__main__,
    "model": model.__main__,
    "evaluation": evaluation.__main__,
}


@pytest.fixture
def called(monkeypatch) -> list[tuple[str, list[str]]]:
    """The rooms' commands only write down what they are asked."""
    record: list[tuple[str, list[str]]] = []
    for name, module in ROOMS.items():
        monkeypatch.setattr(
            module, "main", lambda argv, name=name: record.append((name, argv)) or 7
        )
    return record


def test_each_command_reaches_its_room_with_its_arguments(called):
    for command in cli.STORE_COMMANDS:
        assert cli.main([command, "--store", "a b"]) == 7
        assert called.pop() == ("index_store", [command, "--store", "a b"])
    for command, (room, _) in cli.PACKAGE_COMMANDS.items():
        assert cli.main([command, "x", "--help"]) == 7
        assert called.pop() == (room, ["x", "--help"])


def test_every_command_of_the_store_is_offered(capsys):
    with pytest.raises(SystemExit):
        index_store.__main__.main(["--help"])
    offered = capsys.readouterr().out.partition("{")[2].partition("}")[0].split(",")
    assert set(offered) == set(cli.STORE_COMMANDS)


def test_a_store_is_served_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "stores" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "stores")
    monkeypatch.setenv("GEM_STORE", "")

    def replaced(program: str, argv: list[str]) -> None:
        assert os.getcwd() == str(ROOT) and program == sys.executable
        assert argv[1:] == ["-m", "streamlit", "run", "app.py", "--server.port=8599"]
        raise SystemExit(0)  # execv does not return

    monkeypatch.setattr(os, "execv", replaced)
    with pytest.raises(SystemExit):
        cli.main(["serve", "mine", "--port", "8599"])
    assert os.environ["GEM_STORE"] == str(tmp_path / "stores" / "mine")


def test_a_store_that_is_not_there_is_named(tmp_path, capsys):
    assert cli.main(["serve", str(tmp_path / "nothing")]) == 1
    assert f"There is no store {tmp_path}/nothing" in capsys.readouterr().err


def test_it_is_installed_and_runs_anywhere(tmp_path):
    command = [f"{os.path.dirname(sys.executable)}/same-thing", "info", "--store", "nothing"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "nothing" in run.stderr


def test_all_packages_are_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {f"{name}*" for name in packages} == set(project["packages"]["find"]["include"])
    assert {path.stem for path in ROOT.glob("*.py")} == set(project["py-modules"])
