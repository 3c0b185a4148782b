"""Logging: one JSON object per line, without personal data.

No line contains a network address, the name of an uploaded file, or a traceback; errors are logged
with their type and the places in the code instead.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from .streamlit_private import set_up_loggers

IPV4 = r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
IPV6 = r"(?<![\w:.])(?=[\da-fA-F:]*:[\da-fA-F]*:)[\da-fA-F:]{3,39}(?:%\w+)?(?![\w:])"
ADDRESS = re.compile(f"{IPV4}|{IPV6}")
CLOCK = re.compile(r"\d\d:\d\d:\d\d")  # matches ADDRESS too
WITHHELD = "[address]"
SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
MAX_FRAMES = 30


class JsonLines(logging.Formatter):
    """Formats a record as one line: time (UTC), level, logger, message; for an error also its type
    and the calls that led to it, outermost first.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_addresses(record.getMessage()),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            line |= {"error": kind.__name__, "where": frames(trace)}
        return json.dumps(line, ensure_ascii=False)


def without_addresses(text: str) -> str:
    """Text with all IPv4 and IPv6 addresses replaced."""
    return ADDRESS.sub(lambda m: m[0] if CLOCK.fullmatch(m[0]) else WITHHELD, text)


def frames(trace: TracebackType | None) -> list[str]:
    """The last MAX_FRAMES calls, outermost first, each as "file:line function"."""
    found = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in found]


def log_as_json() -> None:
    """Send all logging of this process to stderr in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.root.handlers = [handler]
    logging.captureWarnings(True)
    set_up_loggers(propagate)  # Streamlit gives each of its loggers a handler
    for name in SERVERS:  # they log every connection
        propagate(logging.getLogger(name))
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = log_end_of_thread


def propagate(logger: logging.Logger) -> None:
    """Make a logger pass everything to the root's handler."""
    logger.handlers.clear()
    logger.propagate = True


def log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """Log an unhandled error that ended a thread."""
    if ended.exc_value is not None and not sys.is_finalizing():
        logging.getLogger(__name__).error(
            "a thread has ended", exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback)
        )
