"""What of a folder is left out: by patterns of its owner, and by default.

Patterns are those of gitignore, by https://github.com/cpburnz/python-pathspec. They come from
`--exclude` and from `.samethingignore` files, each of which speaks for the folder that it lies in.
Where they disagree, `--exclude` is above the files, an inner file above an outer one, a later line
above an earlier one, and all of them above DEFAULTS.
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
NO_MEDIA = ".nomedia"  # by which phones mark folders whose pictures are nobody's photos
MAX_BYTES = 2**20
MAX_STARS = 4  # in one part of a path; with each one more, matching takes longer by a power
# Thumbnails, recycle bins and snapshots of network drives and of Windows.
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
    "Thumbnails, recycle bins and snapshots are left out by default; "
    f"a line `!/{{}}` in {FILE} takes them in."
)


class Exclusion:
    """Decides about the files and folders of one root; asked from the outside to the inside.

    Args:
        root: The folder.
        patterns: Of `--exclude`.

    Raises:
        BadPatterns: One of them is none.
    """

    def __init__(self, root: Path, patterns: Sequence[str] = ()):
        self._root = root
        self._given = spec_of(patterns, "--exclude")
        self._default = spec_of(DEFAULTS, "DEFAULTS")
        self._inner: dict[str, GitIgnoreSpec] = {}

    def enter(self, folder: str) -> None:
        """Read the patterns that lie in a folder.

        Args:
            folder: Its path in the root, ending with a slash; "" for the root itself.

        Raises:
            BadPatterns: They cannot be read. What they were to leave out must not come in.
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
        """Why a file or folder is left out.

        Args:
            file: Its path in the root, that of a folder ending with a slash.

        Returns:
            A sentence, "" if it is not left out.
        """
        if (found := self._decided(file, self._given)) is not None:
            return found
        for folder in outwards(file):
            spec = self._inner.get(folder)
            if spec and (found := self._decided(file[len(folder) :], spec)) is not None:
                return found
        if file.endswith("/") and self._default.match_file(file):
            return BY_DEFAULT.format(file.rstrip("/").rpartition("/")[2] + "/")
        return ""

    def hides(self, folder: str, names: Sequence[str]) -> str:
        """Why a folder is left out for what lies in it, as `reason`. names: what lies in it."""
        if folder and NO_MEDIA in names and not self._wanted(folder):
            return f"Folders with a file {NO_MEDIA} are left out."
        return ""

    def _wanted(self, folder: str) -> bool:
        """Whether a pattern takes a folder in by name."""
        specs = [(folder, self._given)]
        for outer in outwards(folder):
            if outer in self._inner:
                specs.append((folder[len(outer) :], self._inner[outer]))
        return any(spec.check_file(name).include is False for name, spec in specs)

    @staticmethod
    def _decided(file: str, spec: GitIgnoreSpec) -> str | None:
        """What patterns say of a path: a sentence, "" to take it in, None for nothing."""
        if not spec.patterns:
            return None
        found = spec.check_file(file)
        if found.include is None or found.index is None:
            return None
        pattern = str(getattr(spec.patterns[found.index], "pattern", ""))
        return f"Excluded by the pattern {pattern}" if found.include else ""


def outwards(file: str) -> list[str]:
    """All folders that a path lies in, the innermost first, "" last; each ends with a slash."""
    parts = file.rstrip("/").split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:count]) for count in range(len(parts), -1, -1)]


def spec_of(patterns: Sequence[str], where: str) -> GitIgnoreSpec:
    """A list of patterns. Raises BadPatterns, which says where they were."""
    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise BadPatterns(f"{where} holds {pattern[:60]!r}: {error}") from None
        parts = [] if pattern.startswith("#") else ESCAPED.sub("", pattern).split("/")
        if any(part.count("*") > MAX_STARS for part in parts):
            raise BadPatterns(
                f"{where} holds {pattern[:60]!r}: a part of a path has at most {MAX_STARS} `*`"
            )
    return GitIgnoreSpec.from_lines(patterns)
