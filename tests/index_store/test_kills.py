"""kill -9 at every step of all that writes a store."""

from __future__ import annotations

import pytest

from evaluation.studies.serving.kills import OPERATIONS, kill_everywhere


# A build over a store takes the steps of an update; `python -m evaluation kills` goes through both.
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "build"])
def test_no_kill_loses_anything(name, tmp_path):
    steps, states = zip(*kill_everywhere(name, tmp_path))
    first = "none" if name in ("first build", "resumed build") else "old"
    switched = states.index("new")
    assert set(states[:switched]) == {first} and set(states[switched:]) == {"new"}
    assert steps[switched].startswith("replace") and ".CURRENT" in steps[switched]
    written = {step.split("/")[-1] for step in steps if step.startswith("write ")}
    assert written >= {"slots.npy", "index.faiss", "manifest.json", ".CURRENT"}
    assert {step.split()[0] for step in steps} >= {"fsync", "rename", "unlink", "mkdir"}
