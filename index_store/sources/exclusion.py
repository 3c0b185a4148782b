"""Exclusion of files and folders by default, and by the owner's patterns.

Patterns have the syntax of gitignore (https://github.com/cpburnz/python-pathspec). They come from
`--exclude` and from `.samethingignore` files, each of which applies to its own folder. In order of
precedence: `--exclude`, inner files, outer files, DEFAULTS; within a list, later lines before
earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from extractor import read_at_most

from ..errors import BadPatterns

FILE = ".samethingignore"
ESCAPED = re.compile(r"\\.")
NO_MEDIA = ".nomedia"  # marks folders on phones whose pictures are not photos
MAX_BYTES = 2**20
MAX_STARS = 4  # in one part of a path; matching time grows exponentially with their number
# Thumbnails, recycle bins and snapshots on network drives and on Windows.
DEFAULTS = (
    "@eaDir/",
    "@Recycle/",
    r"\#recycle/",
    r"\#snapshot/",
    "$RECYCLE.BIN/",
    "$Recycle.Bin/",
    "System Volume Information/",
    "lost+found/",
)
BY_DEFAULT = (
    "Thumbnails, recycle bins and snapshots are skipped by default; "
    f"a line `!/{{}}` in {FILE} includes them."
)


class Exclusion:
    """Decides about the files and folders of one root. Call `enter` on outer folders first.

    Args:
        root: the folder.
        patterns: patterns of `--exclude`.

    Raises:
        BadPatterns: a pattern is invalid.
    """

    def __init__(self, root: Path, patterns: Sequence[str] = ()):
        self._root = root
        self._given = spec_of(patterns, "--exclude")
        self._default = spec_of(DEFAULTS, "DEFAULTS")
        self._inner: dict[str, GitIgnoreSpec] = {}

    def enter(self, folder: str) -> None:
        """Read the pattern file in a folder.

        Args:
            folder: path in the root, ending with a slash; "" for the root itself.

        Raises:
            BadPatterns: it cannot be read; ignoring it would include files that it excludes.
        """
        path = self._root / folder / FILE
        try:
            text = read_at_most(path, MAX_BYTES).decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, UnicodeDecodeError) as error:
            raise BadPatterns(f"{path} cannot be read: {error}") from None
        self._inner[folder] = spec_of(text.splitlines(), str(path))

    def reason(self, file: str) -> str:
        """Why a file or folder is excluded.

        Args:
            file: path in the root, ending with a slash for a folder.

        Returns:
            A sentence; "" if it is not excluded.
        """
        if (found := self._decided(file, self._given)) is not None:
            return found
        for folder in outer_folders(file):
            spec = self._inner.get(folder)
            if spec and (found := self._decided(file[len(folder) :], spec)) is not None:
                return found
        if file.endswith("/") and self._default.match_file(file):
            return BY_DEFAULT.format(file.rstrip("/").rpartition("/")[2] + "/")
        return ""

    def hides(self, folder: str, names: Sequence[str]) -> str:
        """Why a folder is excluded because of its contents, see `reason`. names: its contents."""
        if folder and NO_MEDIA in names and not self._is_wanted(folder):
            return f"Folders with a file {NO_MEDIA} are skipped."
        return ""

    def _is_wanted(self, folder: str) -> bool:
        """Whether a pattern explicitly includes a folder."""
        specs = [(folder, self._given)]
        for outer in outer_folders(folder):
            if outer in self._inner:
                specs.append((folder[len(outer) :], self._inner[outer]))
        return any(spec.check_file(name).include is False for name, spec in specs)

    @staticmethod
    def _decided(file: str, spec: GitIgnoreSpec) -> str | None:
        """The patterns' decision: a sentence to exclude, "" to include, None for no match."""
        if not spec.patterns:
            return None
        found = spec.check_file(file)
        if found.include is None or found.index is None:
            return None
        pattern = str(getattr(spec.patterns[found.index], "pattern", ""))
        return f"Excluded by the pattern {pattern}" if found.include else ""


def outer_folders(file: str) -> list[str]:
    """All folders that contain a path, innermost first, "" last; each ends with a slash."""
    parts = file.rstrip("/").split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:count]) for count in range(len(parts), -1, -1)]


def spec_of(patterns: Sequence[str], origin: str) -> GitIgnoreSpec:
    """Parse a list of patterns. Raises BadPatterns. origin: its origin, for the error."""

    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise BadPatterns(f"{origin} holds {pattern[:60]!r}: {error}") from None
        parts = [] if pattern.startswith("#") else ESCAPED.sub("", pattern).split("/")
        if any(part.count("*") > MAX_STARS for part in parts):
            raise BadPatterns(
                f"{origin} holds {pattern[:60]!r}: at most {MAX_STARS} `*` between two slashes"
            )
    return GitIgnoreSpec.from_lines(patterns)
