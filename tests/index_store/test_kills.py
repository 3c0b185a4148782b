"""kill -9 at every step of an operation that writes a store."""

from __future__ import annotations

from evaluation.studies.serving.kills import kill_everywhere


def test_no_kill_of_an_update_loses_anything(tmp_path):
    """`python -m evaluation kills` goes through all seven operations."""
    steps, states = zip(*kill_everywhere("update", tmp_path))
    switched = states.index("new")
    assert set(states[:switched]) == {"old"} and set(states[switched:]) == {"new"}
    assert steps[switched].startswith("replace") and ".CURRENT" in steps[switched]
    written = {step.split("/")[-1] for step in steps if step.startswith("write ")}
    assert written >= {"slots.npy", "index.faiss", "manifest.json", ".CURRENT"}
    assert {step.split()[0] for step in steps} >= {"fsync", "rename", "unlink", "mkdir"}
