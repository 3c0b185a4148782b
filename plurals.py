"""Counts in the sentences of commands and errors: "1 photo", "2 photos".

Sentences of the page are in several languages and have their forms in `ui.i18n.translate`.
"""

from __future__ import annotations


def quantity(count: int, one: str, many: str = "") -> str:
    """A count and its noun.

    Args:
        count: 0 or more.
        one: the noun for a count of 1, with its adjectives.
        many: the noun for any other count; empty: `one` with an "s".
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"
