"""All uses of undocumented parts of Streamlit.

Any release may change them. A version other than the tested one is therefore an error at start-up
and not a failed search later.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import Logger
from pathlib import Path

import streamlit
import streamlit.logger
from streamlit import config
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed as is_host_allowed

TESTED_VERSION = "1.67.0"
UPLOAD_PATH = "/_stcore/upload_file/"  # URL path, followed by session and file


def check_version() -> None:
    """Raise ImportError unless the installed Streamlit is the tested one."""
    if streamlit.__version__ != TESTED_VERSION:
        raise ImportError(
            f"Streamlit {streamlit.__version__} is installed, and this version works with "
            f"{TESTED_VERSION} only. Run: pip install -r requirements.txt"
        )


check_version()


def runtime() -> Runtime | None:
    """Streamlit's runtime; None outside the server."""
    return Runtime.instance() if Runtime.exists() else None


def session_ids(runtime: Runtime) -> set[str]:
    """Ids of all sessions, including those whose visitor has left."""
    return {info.session.id for info in runtime._session_mgr.list_sessions()}


def stored_uploads(runtime: Runtime) -> dict[str, dict[str, UploadedFileRec]]:
    """Uploaded files in memory, by session and file id."""
    return getattr(runtime.uploaded_file_mgr, "file_storage", {})


def current_session() -> str:
    """Id of the session whose script runs on this thread; "" outside a script."""
    context = get_script_run_ctx()
    return "" if context is None else context.session_id


def is_history_navigation() -> bool:
    """Whether this run follows a step back or forward in the browser's history."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def set_up_loggers(set_up: Callable[[Logger], None]) -> None:
    """Set up all of Streamlit's loggers, including those created later."""
    streamlit.logger.setup_formatter = set_up  # type: ignore[assignment]
    streamlit.logger.update_formatter()


def index_html() -> str:
    """Streamlit's static index.html."""
    return (Path(streamlit.__file__).parent / "static" / "index.html").read_text()


def option(name: str) -> str:
    """The value of a server option."""
    return config.get_option(name)


def set_option(name: str, value: object) -> None:
    """Set a server option, which `st.set_option` does not allow."""
    config.set_option(name, value)
