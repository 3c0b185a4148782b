"""The one engine of this process, shared by the page's sessions and the photo routes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from extractor import Extractor, choose_extractor
from index_store import Store, StoreError, current_version
from search import UNCALIBRATED, Engine

STORE_VARIABLE = "GEM_STORE"
DEFAULT_STORE = Path(__file__).resolve().parent.parent / "stores" / "gallery"

log = logging.getLogger(__name__)


class Service:
    """Opens the store named by the environment variable GEM_STORE, and again whenever a build has replaced it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._extractor: Extractor | None = None
        self._engine: Engine | None = None
        self._opened: tuple[Path, str] | None = None

    def engine(self) -> Engine:
        """The engine on the live generation; if that cannot be opened, on the last one that could.

        Raises StoreError or BadModel if there is none at all.
        """
        path = Path(os.environ.get(STORE_VARIABLE, DEFAULT_STORE))
        with self._lock:
            try:
                version = (path, current_version(path)[1])
                if version != self._opened:
                    if self._extractor is None:
                        self._extractor, choice = choose_extractor()
                        print(f"descriptors: {choice}", file=sys.stderr)
                    self._engine = Engine(Store(path, self._extractor), self._extractor)
                    self._opened = version
                    if not self._engine.is_calibrated("diffusion", "sift"):
                        log.warning(UNCALIBRATED)
            except StoreError as error:
                if self._engine is None or self._opened[0] != path:
                    raise
                log.error("serving the generation opened before: %s", error)
            return self._engine


service = Service()
