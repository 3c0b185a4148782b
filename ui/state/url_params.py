"""What of a question stands in the page's address, as the visitor left it last.

The browser says its address with every click, and learns of a change of ours only when a message
has reached it. A click that comes sooner still says the old address, and would undo the change. So
the session remembers what it has replaced: an address that says it again is old, and is set right,
unless the visitor went back in the browser's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from serving.operations.streamlit_private import is_history_navigation

REMEMBERED = 32  # former values of each name


def values(name: str) -> list[str]:
    """All values of a name, in order."""
    said = st.query_params.get_all(name)
    former, since = replaced().get(name, ([], []))
    if said not in former:
        return said
    put({name: since})
    return since


def write(name: str, new: Sequence[str]) -> None:
    """Set all values of a name; none take it out."""
    write_all({name: new})


def write_all(new: Mapping[str, Sequence[str]]) -> None:
    """Set the values of several names."""
    for name, since in new.items():
        former, before = replaced().get(name, ([], []))[0], values(name)
        since = list(since)
        kept = [one for one in (*former, before) if one != since]
        replaced()[name] = kept[-REMEMBERED:], since
    put(new)


def put(new: Mapping[str, Sequence[str]]) -> None:
    """Change the address.

    What goes in does so at once, and before anything is taken out: an address without a question
    would be a step of its own to go back to.
    """
    there = {name: list(since) for name, since in new.items() if since}
    if any(st.query_params.get_all(name) != since for name, since in there.items()):
        st.query_params.update(there)
    for name in new.keys() - there.keys():
        st.query_params.pop(name, None)


def forget_replaced() -> None:
    """What the address says next is right, whatever it said before."""
    replaced().clear()


def replaced() -> dict[str, tuple[list[list[str]], list[str]]]:
    """Name -> its former values, and the one since."""
    memory = st.session_state.setdefault("replaced", {})
    if is_history_navigation():
        memory.clear()
    return memory
