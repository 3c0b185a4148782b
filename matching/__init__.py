"""Matching of two photos' keypoints, and geometric verification of the matches."""

from .verification import Verification, verify, verify_many
