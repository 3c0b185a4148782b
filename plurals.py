"""Counts in the sentences of commands and errors: "1 photo", "2 photos".

For the page's sentences, which are in several languages, see `ui.i18n.translate`.
"""

from __future__ import annotations


def quantity(count: int, one: str, many: str = "") -> str:
    """A count and its noun.

    Args:
        count: the count, 0 or more.
        one: noun with its adjectives for a count of 1.
        many: noun for any other count; "": `one` with an "s".
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"
