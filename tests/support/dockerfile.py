"""Follows a Dockerfile's steps in a plain folder, where there is no engine that could build it.

    python -m tests.support.dockerfile FOLDER     all steps of deploy/Dockerfile, packages included

Each stage is FOLDER/root while it is followed, and absolute paths are read within it. What is not
done: the base image is the Python that runs this, and nothing is isolated but by permissions (see
`confined`).
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

NO_RIGHTS = "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs".split()


@dataclass
class Stage:
    """A stage as far as it has been followed.

    Attributes:
        root: the folder that stands for `/`.
        workdir: as WORKDIR says.
        environment: as ENV says.
        user, command, health: as USER, CMD and HEALTHCHECK say.
    """

    root: Path
    workdir: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """Where a path of the image is in reality."""
        return self.root / os.path.join(self.workdir, name).lstrip("/")

    def within(self, text: str) -> str:
        """Text whose absolute paths of the image are real ones."""
        return re.sub(r"(?<![\w./])/(?=(opt|srv)/)", f"{self.root}/", text)

    def environ(self) -> dict[str, str]:
        """The environment of a program of the image, and nothing of ours."""
        return {name: self.within(value) for name, value in self.environment.items()}


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and rest of each instruction."""
    lines = [line.strip() for line in text.splitlines()]
    parts = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in parts]


def allowed(file: str, ignore: str) -> bool:
    """Whether a file of the context goes in, as .dockerignore says: the last rule that fits."""
    goes_in = True
    for rule in ignore.splitlines():
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!")
        folders = [file, *map(str, Path(file).parents)]
        names = pattern.removeprefix("**/")
        fits = any(
            fnmatch.fnmatchcase(name, pattern)
            or (pattern.startswith("**/") and fnmatch.fnmatchcase(Path(name).name, names))
            for name in folders
        )
        if fits:
            goes_in = rule.startswith("!")
    return goes_in


def copy_context(context: Path, ignore: str, target: Path) -> None:
    """COPY . : all files that go in."""
    for path in sorted(context.rglob("*")):
        file = str(path.relative_to(context))
        if path.is_file() and allowed(file, ignore):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / file)


def follow(context: Path, folder: Path, ready: str = "") -> Stage:
    """Follow deploy/Dockerfile.

    Args:
        context: what `docker build` would be given.
        folder: empty; gets a folder for each stage.
        ready: a folder of packages, instead of those that the Dockerfile installs.

    Returns:
        The last stage.
    """
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text()
    done: dict[str, Stage] = {}  # by name; their files are in folder / name
    stage, current = Stage(folder / "root"), ""
    for name, rest in instructions((ROOT / "deploy" / "Dockerfile").read_text()):
        if name == "FROM":
            if current:
                stage.root.rename(folder / current)
                done[current] = stage
            base, _, current = rest.partition(" AS ")
            stage = Stage(folder / "root")
            if base in done:
                shutil.copytree(folder / base, stage.root, symlinks=True)
                stage.workdir = done[base].workdir
            stage.root.mkdir(exist_ok=True)
        elif name == "WORKDIR":
            stage.workdir = rest
            stage.path("").mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(stage, folder, shlex.split(rest), context, ignore)
        elif name == "RUN":
            run(stage, rest, ready)
        elif name == "ENV":
            key, _, value = rest.partition("=")
            stage.environment[key] = value
        elif name == "USER":
            stage.user = rest
        elif name == "HEALTHCHECK":
            stage.health = json.loads(rest.partition("CMD ")[2])
        elif name == "CMD":
            stage.command = json.loads(rest)
        elif name != "EXPOSE":
            raise AssertionError(f"{name} is not known here")
    return stage


def copy(stage: Stage, folder: Path, words: list[str], context: Path, ignore: str) -> None:
    """COPY, from the context or from another stage."""
    source, target = words[-2], stage.path(words[-1])
    if words[0].startswith("--from="):
        origin = folder / words[0].removeprefix("--from=") / source.lstrip("/")
        shutil.copytree(origin, target, symlinks=True)
    elif source == ".":
        copy_context(context, ignore, target)
    else:
        assert allowed(source, ignore)
        shutil.copy(context / source, target)


def run(stage: Stage, command: str, ready: str) -> None:
    """RUN. With `ready`, packages are not installed but found where they are."""
    if ready and "pip install" in command:
        (site,) = stage.root.glob("opt/venv/lib/python*/site-packages")
        (site / "ready.pth").write_text(ready)
        script = f"#!{stage.root}/opt/venv/bin/python\nfrom streamlit.web.cli import main\nmain()\n"
        program = stage.root / "opt/venv/bin/streamlit"
        program.write_text(script)
        program.chmod(0o755)
        return
    words = shlex.split(stage.within(command))
    if words[0] == "python":
        words[0] = sys.executable
    environment = {"PATH": os.environ["PATH"], "HOME": str(stage.root)} | stage.environ()
    subprocess.run(words, cwd=stage.path(""), env=environment, check=True)


def confined(command: list[str]) -> list[str]:
    """A command without any right but those that a file's mode gives."""
    return [*NO_RIGHTS, *command] if os.geteuid() == 0 else command


def make_read_only(folder: Path) -> None:
    """Take the right to write from everything, as `docker run --read-only` does."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o555)


if __name__ == "__main__":
    made = follow(ROOT, Path(sys.argv[1]).resolve())
    print(f"followed to {made.root}: {shlex.join(made.command)} as {made.user}")
