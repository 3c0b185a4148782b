"""Turns of the page: heavy work of a visitor, with the place in the queue shown meanwhile."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from serving.middleware.client_ip import FORWARDED, LOOPBACK, client_address
from serving.operations.streamlit_private import current_session
from serving.queue.admission import Busy, admission
from serving.refusal import queue_full, spend

from ..i18n.translate import tr

T = TypeVar("T")
SILENT_SECONDS = 0.15  # seconds: faster tasks show no message
POLL_SECONDS = 0.05


def in_turn(
    work: Callable[[], T], message: str = "Searching…", counted: bool = True, quick: bool = False
) -> T:
    """Run a task on the server's executor and wait for it.

    Streamlit may stop the script while it waits, because the visitor clicked or left; the ticket is
    cancelled then.

    Args:
        work: the task. It must not draw, because it runs on another thread.
        message: message while it runs.
        counted: whether it counts as a search for the quota.
        quick: as for `Admission.submit`.

    Raises:
        Refused: the queue is full, or the quota is used up.
        Exception: any error of the task.
    """
    visitor, address = visitor_and_address()
    if counted:
        spend("search", address, visitor)
    try:
        ticket = admission().submit(visitor, work, address, quick)
    except Busy as error:
        raise queue_full(error) from None
    line = st.empty()
    try:
        if not ticket.wait(SILENT_SECONDS):
            drawn = ""
            while not ticket.wait(POLL_SECONDS):
                # Streamlit stops a script only in a call to Streamlit.
                st.session_state.get("page")
                text = waiting_line(ticket.place, message)
                if text != drawn:
                    drawn = text
                    line.html(drawn)
            line.empty()
        return ticket.result()
    finally:
        ticket.cancel()


def waiting_line(place: int, message: str) -> str:
    """HTML of the waiting message. place: number of tickets ahead."""
    text = html.escape(tr("{place} ahead of you", place=place) if place else message)
    return f'<div class="turn" role="status">{text}</div>'


def visitor_and_address() -> tuple[str, str]:
    """The session and the client address as quotas count it."""
    peer = st.context.ip_address or LOOPBACK  # Streamlit reports no address for this machine
    return current_session(), client_address(peer, st.context.headers.get_all(FORWARDED))
