"""URL parameters, protected against stale values from the browser.

The browser sends its URL with each rerun; our changes reach it with the next message. A click
before that sends the old URL and would undo the change. The session therefore stores the replaced
values: a URL that repeats one is stale and is corrected, unless the visitor went back in the
history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from serving.operations.streamlit_private import is_history_navigation

MAX_REPLACED = 32  # replaced values of each parameter


def values(name: str) -> list[str]:
    """All values of a parameter, in order."""
    current = st.query_params.get_all(name)
    outdated, latest = replaced().get(name, ([], []))
    if current not in outdated:
        return current
    update_url({name: latest})
    return latest


def write(name: str, new: Sequence[str]) -> None:
    """Set all values of a parameter; an empty sequence removes it."""
    write_all({name: new})


def write_all(new: Mapping[str, Sequence[str]]) -> None:
    """Set the values of several parameters."""
    for name, latest in new.items():
        outdated, current = replaced().get(name, ([], []))[0], values(name)
        latest = list(latest)
        kept = [value for value in (*outdated, current) if value != latest]
        replaced()[name] = kept[-MAX_REPLACED:], latest
    update_url(new)


def update_url(new: Mapping[str, Sequence[str]]) -> None:
    """Change the URL.

    All additions are made at once and before removals: a URL without a question would be a separate
    step in the history.
    """
    additions = {name: list(latest) for name, latest in new.items() if latest}
    if any(st.query_params.get_all(name) != latest for name, latest in additions.items()):
        st.query_params.update(additions)
    for name in new.keys() - additions.keys():
        st.query_params.pop(name, None)


def trust_next_url() -> None:
    """Treat the next URL as authoritative."""
    replaced().clear()


def replaced() -> dict[str, tuple[list[list[str]], list[str]]]:
    """Parameter -> its replaced values, and the current one."""
    parameters = st.session_state.setdefault("replaced", {})
    if is_history_navigation():
        parameters.clear()
    return parameters
