"""Confirmation before many photos are removed from a store."""

from __future__ import annotations

import sys

from command import print_status

from .errors import TooMuchGone
from .sources.difference import Difference


class Confirmation:
    """Records the changes, and asks for confirmation before many photos are removed.

    Args:
        yes: accept any change.
        interactive: ask at the terminal, if there is one.

    Attributes:
        found: the changes.
    """

    def __init__(self, yes: bool, interactive: bool = True):
        self.yes, self.interactive = yes, interactive
        self.found = Difference()

    def __call__(self, found: Difference) -> None:
        """Raise TooMuchGone unless the removals are few or confirmed."""
        self.found = found
        if self.yes or not found.doubtful:
            return
        if self.interactive and sys.stdin is not None and sys.stdin.isatty():
            print_status(f"{found.doubtful} Are all folders and disks there?")
            print_status("Take them out of the store? [y/N]")
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                return
        raise TooMuchGone(
            f"{found.doubtful} The store is unchanged. If a disk or a share is missing, connect "
            "it; to remove the photos, add --yes."
        )
