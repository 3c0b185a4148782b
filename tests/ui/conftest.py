"""What the tests of pages share: a server on the sample gallery, started once a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import serving


@pytest.fixture(scope="session")
def address(gallery_path: Path) -> Iterator[str]:
    with serving(gallery_path) as url:
        yield url
