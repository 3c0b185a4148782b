"""Pages look as their references in tests/support/looks do; see tests/support/looks.py."""

from __future__ import annotations

import pytest

from tests.support.looks import LOOKS, differences, reference, see, show, style
from tests.ui.test_browser import browser

__all__ = ["browser"]  # a fixture


@pytest.mark.parametrize("name", LOOKS)
def test_it_looks_as_it_did(name, browser, address):
    look = LOOKS[name]
    page = show(browser, address, look)
    assert not differences(see(page, look), reference(name))
    # And a change is seen: a part that is gone, and one in another place.
    *_, last = look.parts.values()
    main = {"evidence": ".stage", "start": last}.get(name, ".grid")
    style(page, main, "opacity", "0")
    (gone,) = differences(see(page, look), reference(name))
    assert gone.endswith("of the picture has changed")
    style(page, main, "opacity", "1")
    style(page, last, "transform", "translateX(20px)")
    assert any(" was at " in one for one in differences(see(page, look), reference(name)))
    page.close()
