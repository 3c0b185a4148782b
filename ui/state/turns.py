"""Heavy work of a visitor: when it is their turn, and until then the place in the queue."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from serving.middleware.client_ip import FORWARDED, LOOPBACK, client_address
from serving.operations.streamlit_private import current_session
from serving.queue.admission import Busy, admission
from serving.refusal import of_busy, spend

from ..i18n.translate import tr

T = TypeVar("T")
AT_ONCE = 0.15  # seconds: what is done by then needs no words
LOOK_AGAIN = 0.05


def in_turn(
    work: Callable[[], T], doing: str = "Searching…", counted: bool = True, quick: bool = False
) -> T:
    """Do heavy work on the server's executor and wait for it.

    The script may be stopped while it waits, because the visitor clicked or left; then the place in
    the queue is given up.

    Args:
        work: does not draw; it runs on another thread.
        doing: what is said once it has begun.
        counted: whether it is a search of its own for the visitor's quota, not the end of one.
        quick: as of `Admission.submit`.

    Raises:
        Refused: the queue is full, or the visitor has searched too often.
        Exception: whatever the work raises.
    """
    visitor, address = visitor_and_address()
    if counted:
        spend("search", address, visitor)
    try:
        ticket = admission().submit(visitor, work, address, quick)
    except Busy as error:
        raise of_busy(error) from None
    line = st.empty()
    try:
        if not ticket.wait(AT_ONCE):
            said = ""
            while not ticket.wait(LOOK_AGAIN):
                # Each call of Streamlit is where a script that is to stop is stopped.
                st.session_state.get("page")
                now = waiting_line(ticket.place, doing)
                if now != said:
                    said = now
                    line.html(said)
            line.empty()
        return ticket.result()
    finally:
        ticket.cancel()


def waiting_line(place: int, doing: str) -> str:
    """HTML that says what is waited for. place: how many come before."""
    said = html.escape(tr("{place} ahead of you", place=place) if place else doing)
    return f'<div class="turn" role="status">{said}</div>'


def visitor_and_address() -> tuple[str, str]:
    """The session, and the address it comes from as quotas count it."""
    peer = st.context.ip_address or LOOPBACK  # Streamlit says nothing of this machine itself
    return current_session(), client_address(peer, st.context.headers.get_all(FORWARDED))
