"""The index of keypoints, and the overlays it ignores."""
