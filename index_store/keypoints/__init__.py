"""Keypoint index, and the marks (overlays) that it ignores."""
