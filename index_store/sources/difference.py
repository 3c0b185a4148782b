"""Changes of a store's folders: photos that were added, changed, moved or deleted."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from plurals import quantity

from ..storage.catalogue import Entry

DOUBTFUL = 0.2  # share of a store's photos whose loss may be a mistake
SHOWN_FOLDERS = 3


@dataclass(frozen=True)
class Difference:
    """Names of photos, as in `Roots`, each list sorted.

    Attributes:
        came: photos with new content.
        changed: photos whose content has changed.
        moved: old and new names of photos whose content has moved.
        gone: photos that no longer exist anywhere.
        left_out: photos that still exist, but are now unreadable or excluded.
        doubtful: why the loss of photos may be a mistake; "" if it is not suspicious.
    """

    came: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    doubtful: str = ""


# Called with a difference before it becomes a generation; may raise TooMuchGone.
Confirm = Callable[[Difference], None]


def confirm_all(difference: Difference) -> None:
    """Accept any change."""


def difference(
    before: Sequence[Entry],
    after: Sequence[Entry],
    present: Iterable[str] = (),
    excluded: Callable[[str], bool] = lambda file: False,
) -> Difference:
    """Compare the photos of two generations.

    Args:
        before: photos of the old one; absolute paths as names are outside all current folders.
        after: photos of the new one.
        present: names of files that exist but are not indexed; those of folders end with a slash.
        excluded: whether the owner has excluded a file.
    """
    old = {entry.file: entry.sha256 for entry in before}
    new = {entry.file: entry.sha256 for entry in after}
    changed = sorted(file for file in old.keys() & new.keys() if old[file] != new[file])
    pairs = moved_pairs(
        {file: old[file] for file in old.keys() - new.keys()},
        {file: new[file] for file in new.keys() - old.keys()},
    )
    came = sorted(new.keys() - old.keys() - {to for _, to in pairs})
    missing = sorted(old.keys() - new.keys() - {file for file, _ in pairs})
    present_folders = set(present)
    left_out = {
        file
        for file in missing
        if excluded(file) or not present_folders.isdisjoint(folders_of(file))
    }
    deleted = [file for file in missing if file not in left_out]
    lost = {file for file in missing if not os.path.isabs(file) and not excluded(file)}
    return Difference(came, changed, pairs, deleted, sorted(left_out), doubt(old.keys(), lost))


def moved_pairs(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str]]:
    """Match the names of equal contents, each once, preferring equal base names.

    Args:
        old, new: SHA-256 of each file.

    Returns:
        Old and new names, sorted.
    """
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(new):
        places[new[file]].append(file)
    pairs, unpaired = [], []
    for file in sorted(old):
        base = os.path.basename(file)
        same = next((to for to in places[old[file]] if os.path.basename(to) == base), None)
        if same is None:
            unpaired.append(file)
        else:
            places[old[file]].remove(same)
            pairs.append((file, same))
    pairs += [(file, places[old[file]].pop(0)) for file in unpaired if places[old[file]]]
    return sorted(pairs)


def folders_of(file: str) -> list[str]:
    """A name, and the folders that contain it, each ending with a slash."""
    parts = file.split("/")
    return [file, *("/".join(parts[:count]) + "/" for count in range(1, len(parts)))]


def doubt(before: Iterable[str], missing_files: set[str]) -> str:
    """Why the loss of photos may be a mistake, or "".

    It may be if more than DOUBTFUL of all photos, or all photos of a sub-folder, are lost.

    Args:
        before: names of all previous photos.
        missing_files: names of those that no longer exist.
    """
    held: Counter[str] = Counter()
    for file in before:
        held.update(folders_of(file)[:0:-1])
        held[""] += 1
    missing: Counter[str] = Counter()
    for file in missing_files:
        missing.update(folders_of(file)[:0:-1])
    whole = {folder for folder, count in missing.items() if count == held[folder]}
    outermost = sorted(
        folder for folder in whole if not whole.intersection(folders_of(folder[:-1])[1:])
    )
    if not outermost and len(missing_files) <= DOUBTFUL * held[""]:
        return ""
    examples = ", ".join(f"{folder} ({missing[folder]})" for folder in outermost[:SHOWN_FOLDERS])
    more = f" and {quantity(len(outermost) - SHOWN_FOLDERS, 'more folder')}"
    more = more if len(outermost) > SHOWN_FOLDERS else ""
    folders = f", among them all of {examples}{more}" if outermost else ""
    verb = "is" if len(missing_files) == 1 else "are"
    return f"{len(missing_files)} of {quantity(held[''], 'photo')} {verb} gone{folders}."
