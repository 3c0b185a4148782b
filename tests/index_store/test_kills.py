"""kill -9 at every step of all that writes a store."""

from __future__ import annotations

import pytest

from evaluation.studies.serving.kills import kill_everywhere


# The others take the same steps; `python -m evaluation kills` goes through all operations.
@pytest.mark.parametrize("name", ["first build", "update"])
def test_no_kill_loses_anything(name, tmp_path):
    steps, states = zip(*kill_everywhere(name, tmp_path))
    first = "none" if name == "first build" else "old"
    switched = states.index("new")
    assert set(states[:switched]) == {first} and set(states[switched:]) == {"new"}
    assert steps[switched].startswith("replace") and ".CURRENT" in steps[switched]
    written = {step.split("/")[-1] for step in steps if step.startswith("write ")}
    assert written >= {"slots.npy", "index.faiss", "manifest.json", ".CURRENT"}
    assert {step.split()[0] for step in steps} >= {"fsync", "rename", "unlink", "mkdir"}
