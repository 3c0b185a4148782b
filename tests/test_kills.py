"""kill -9 in the middle of all that writes a store."""

from __future__ import annotations

import collections

from evaluation.studies.kills import OPERATIONS, kill_at_random


def test_no_kill_loses_anything(tmp_path):
    """Two random moments of each operation; `python -m evaluation kills` does more of them."""
    killed = collections.Counter(name for name, _ in kill_at_random(12, 5, tmp_path))
    assert killed == dict.fromkeys(OPERATIONS, 2)
