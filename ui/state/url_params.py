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

REMEMBERED = 32  # replaced values of each parameter


def values(name: str) -> list[str]:
    """All values of a parameter, in order."""
    said = st.query_params.get_all(name)
    former, since = replaced().get(name, ([], []))
    if said not in former:
        return said
    put({name: since})
    return since


def write(name: str, new: Sequence[str]) -> None:
    """Set all values of a parameter; an empty sequence removes it."""
    write_all({name: new})


def write_all(new: Mapping[str, Sequence[str]]) -> None:
    """Set the values of several parameters."""
    for name, since in new.items():
        former, before = replaced().get(name, ([], []))[0], values(name)
        since = list(since)
        kept = [one for one in (*former, before) if one != since]
        replaced()[name] = kept[-REMEMBERED:], since
    put(new)


def put(new: Mapping[str, Sequence[str]]) -> None:
    """Change the URL.

    All additions are made at once and before removals: a URL without a question would be a separate
    step in the history.
    """
    there = {name: list(since) for name, since in new.items() if since}
    if any(st.query_params.get_all(name) != since for name, since in there.items()):
        st.query_params.update(there)
    for name in new.keys() - there.keys():
        st.query_params.pop(name, None)


def forget_replaced() -> None:
    """Treat the next URL as authoritative."""
    replaced().clear()


def replaced() -> dict[str, tuple[list[list[str]], list[str]]]:
    """Parameter -> its replaced values, and the current one."""
    memory = st.session_state.setdefault("replaced", {})
    if is_history_navigation():
        memory.clear()
    return memory
